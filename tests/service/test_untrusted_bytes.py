"""What no well-behaved caller sends: each is answered clearly, logged, and the server goes on."""

import base64
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from liquidation.rules.policy import Limits, Mode, Policy
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.sidecars import Refused, Running, running

CHECK = "LiquidationRulesService.CheckClaim"
BATCH = "LiquidationRulesService.BatchCheckClaims"
BEGIN = "ClaimService.BeginClaim"
STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
# Field 77, which no message of the API has, as bytes: a varint of 1.
UNKNOWN = bytes([0xE8, 0x04, 0x01])


async def refused(server: Running, data: bytes, name: str = CHECK) -> Refused:
    with pytest.raises(Refused) as raised:
        await server.raw(name, data)
    return raised.value


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of fewer than 128 bytes."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\xff", b"not a message", bytes(range(256))], ids=repr
)
async def test_bytes_that_are_no_message_are_malformed_and_logged(
    server: Running, data: bytes
) -> None:
    answer = await refused(server, data)

    assert (answer.code, answer.grpc_code) == (-1005, grpc.StatusCode.INVALID_ARGUMENT)
    assert answer.details is not None
    assert answer.details.bad_request.field_violations[0].field == "request"
    (line,) = await server.lines(count=1)
    assert (line["code"], line["rule"], line["liquidation_id"]) == (-1005, "well_formed", 0)
    assert line["request"]["bytes"] == len(data)
    assert base64.b64decode(line["request"]["head_base64"]) == data[:256]
    await server.check(samples.check(samples.low_request()))


async def test_an_empty_request_is_malformed_field_by_field(server: Running) -> None:
    answer = await refused(server, b"")

    assert answer.code == -1005
    assert answer.details is not None
    assert [each.field for each in answer.details.bad_request.field_violations] == [
        "terms.liquidation_id",
        "terms.liquidator_id",
        "terms.ratio_qty_request",
    ]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (UNKNOWN, "77"),
        (field(1, UNKNOWN), "terms.77"),
        (field(1, field(5, UNKNOWN)), "terms.symbols[0].77"),
        (field(2, field(8, UNKNOWN)), "liquidation.snapshot_time.77"),
        (
            field(2, field(9, field(2, b"") + field(2, UNKNOWN))),
            "liquidation.account.positions[1].77",
        ),
        (field(3, field(2, UNKNOWN)), "liquidator.account.77"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_field_the_service_does_not_know_is_refused_at_any_depth(
    server: Running, data: bytes, path: str
) -> None:
    answer = await refused(server, data)

    assert (answer.code, answer.grpc_code) == (-1004, grpc.StatusCode.INVALID_ARGUMENT)
    assert answer.message == "An unknown parameter was sent."
    assert answer.details is not None
    assert answer.details.error.decision.rule == "known_fields"
    assert [each.field for each in answer.details.bad_request.field_violations] == [path]
    (line,) = await server.lines(count=1)
    assert line["request"]["unknown_fields"] == [path]


async def test_a_request_id_that_is_too_long_is_logged_as_it_was_sent(server: Running) -> None:
    long = "~" * 133
    request = claim_service_pb2.BeginClaimRequest(request_id=long)

    answer = await refused(server, request.SerializeToString(), BEGIN)

    assert answer.code == -1005
    # That the line is of the documented form is looked at when the server ends.
    (line,) = await server.lines("claim", count=1)
    assert (line["request_id"], line["request"]["request_id"]) == (long[:128], long)


async def test_a_sound_request_with_an_unknown_field_is_refused_with_its_numbers(
    server: Running,
) -> None:
    answer = await refused(
        server, samples.check(samples.low_request()).SerializeToString() + UNKNOWN
    )

    assert answer.code == -1004
    assert answer.details is not None
    assert answer.details.error.decision.total_notional == samples.LOW_NOTIONAL


async def test_a_million_unknown_fields_are_answered_within_the_bound(server: Running) -> None:
    answer = await refused(server, UNKNOWN * 1_000_000)

    assert answer.code == -1004
    assert answer.details is not None
    assert len(answer.details.bad_request.field_violations) == 8


async def test_a_time_that_is_none_is_malformed_and_logged(server: Running) -> None:
    request = samples.check(samples.low_request())
    request.liquidation.snapshot_time.nanos = -1

    answer = await refused(server, request.SerializeToString())

    assert answer.code == -1005
    assert answer.details is not None
    (violation,) = answer.details.bad_request.field_violations
    assert violation.field == "liquidation.snapshot_time"
    (line,) = await server.lines(count=1)
    assert (line["code"], line["rule"]) == (-1005, "well_formed")


async def test_a_lease_that_is_no_span_is_malformed_and_logged(server: Running) -> None:
    request = claim_service_pb2.BeginClaimRequest(request_id="r-1")
    request.lease_ttl.nanos = -(2**31)

    answer = await refused(server, request.SerializeToString(), BEGIN)

    assert answer.code == -1005
    (line,) = await server.lines("claim", count=1)
    assert (line["code"], line["rule"]) == (-1005, "well_formed")


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW], ids=lambda mode: mode.value)
async def test_unknown_fields_change_nothing_where_their_rule_is_not_enforced(
    mode: Mode, tmp_path: Path
) -> None:
    check = samples.check(samples.low_request())
    begin = ParseDict(
        samples.low_request() | {"request_id": "r-1"}, claim_service_pb2.BeginClaimRequest()
    )
    policy = replace(Policy(), modes={"known_fields": mode})
    async with running(tmp_path, policy) as server:
        await server.raw(CHECK, check.SerializeToString() + UNKNOWN)
        batch = rules_service_pb2.BatchCheckClaimsRequest(requests=[check] * 2)
        data = await server.raw(BATCH, batch.SerializeToString() + UNKNOWN)
        begun = await server.raw(BEGIN, begin.SerializeToString() + UNKNOWN)

        results = rules_service_pb2.BatchCheckClaimsResponse.FromString(data).results
        claim = claim_service_pb2.BeginClaimResponse.FromString(begun).claim
        told = await server.lines(count=3), await server.lines("claim", count=1)

    assert [each.WhichOneof("result") for each in results] == ["accepted"] * 2
    assert claim.state == claim_service_pb2.CLAIM_STATE_ACTIVE
    for line in (*told[0], *told[1]):
        assert line["outcome"] == "accepted"
        assert ("shadow" in line) == (mode is Mode.SHADOW)


async def test_the_first_eight_unknown_fields_of_an_item_and_its_request_are_told(
    server: Running,
) -> None:
    stream = server.channel.stream_stream(
        "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
    )()
    await stream.write(UNKNOWN * 3 + field(2, UNKNOWN * 8))
    data = await stream.read()
    await stream.done_writing()

    result = rules_service_pb2.StreamCheckClaimsResponse.FromString(data).result
    assert result.WhichOneof("result") == "refused"
    (line,) = await server.lines(count=1)
    assert line["request"]["unknown_fields"] == ["77"] * 8


async def test_a_request_over_the_size_limit_is_malformed_and_logged(tmp_path: Path) -> None:
    policy = replace(Policy(), limits=Limits(max_request_bytes=2000))
    async with running(tmp_path, policy) as server:
        answer = await refused(server, field(99 % 16, b"") + b"\x00" * 2000)

        assert answer.code == -1005
        assert answer.details is not None
        (violation,) = answer.details.bad_request.field_violations
        assert "at most 2000 bytes" in violation.description
        (line,) = await server.lines(count=1)
        assert line["code"] == -1005
        await server.check(samples.check(samples.low_request()))


async def test_a_request_of_the_size_limit_is_read(tmp_path: Path) -> None:
    request = samples.check(samples.low_request()).SerializeToString()
    policy = replace(Policy(), limits=Limits(max_request_bytes=len(request)))
    async with running(tmp_path, policy) as server:
        await server.raw(CHECK, request)


async def test_a_request_far_over_the_limit_is_cut_off_by_grpc(tmp_path: Path) -> None:
    policy = replace(Policy(), limits=Limits(max_request_bytes=2000))
    async with running(tmp_path, policy) as server:
        answer = await refused(server, b"\x00" * 8001)

        assert answer.grpc_code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.check(samples.check(samples.low_request()))


@pytest.mark.parametrize("path", ["/liquidation.v1.LiquidationRulesService/Guess", "/no.Such/Call"])
async def test_an_unknown_method_is_unimplemented(server: Running, path: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.channel.unary_unary(path)(b"")

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.check(samples.check(samples.low_request()))


@pytest.mark.parametrize(
    "name",
    [
        "LiquidationRulesService.ListErrorCodes",
        "LiquidationRulesService.GetRules",
        "LiquidationService.PutLiquidation",
        "LiquidationService.BatchPutLiquidations",
        "LiquidationService.GetLiquidation",
        "LiquidationService.ListLiquidations",
        "LiquidationService.CloseLiquidation",
    ],
)
async def test_every_other_call_refuses_garbage_and_unknown_fields_too(
    server: Running, name: str
) -> None:
    assert (await refused(server, b"\xff", name)).code == -1005
    assert (await refused(server, UNKNOWN, name)).code == -1004


@pytest.mark.parametrize("entries", [0, 1001])
async def test_a_batch_of_no_or_too_many_items_is_refused_whole(
    server: Running, entries: int
) -> None:
    item = samples.check(samples.low_request())
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=[item] * entries)

    answer = await server.refused(batch, "LiquidationRulesService.BatchCheckClaims")

    assert answer.code == -1005
    (line,) = await server.lines(count=1)
    assert (line["rpc"], line["code"]) == ("BatchCheckClaims", -1005)


async def test_an_unknown_field_of_the_batch_itself_refuses_it_whole(server: Running) -> None:
    item = samples.check(samples.low_request())
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=[item])

    answer = await refused(
        server, batch.SerializeToString() + UNKNOWN, "LiquidationRulesService.BatchCheckClaims"
    )

    assert answer.code == -1004


async def test_a_batch_of_no_or_too_many_liquidations_is_refused_whole(server: Running) -> None:
    put = liquidation_service_pb2.PutLiquidationRequest(liquidation=samples.snapshot(samples.low()))
    for entries in (0, 1001):
        batch = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=[put] * entries)
        answer = await server.refused(batch, "LiquidationService.BatchPutLiquidations")
        assert answer.code == -1005
