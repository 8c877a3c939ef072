"""A server that takes calls with API keys only: who may call what, and what nobody is told."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from liquidation.auth.keys import Permission
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.cli.commands import run, run_apart
from tests.sidecars import Running, details_of, health, running

FILES = (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
NEEDED = {
    "LiquidationRulesService": Permission.CHECK,
    "LiquidationService": Permission.LIQUIDATIONS,
    "ClaimService": Permission.CLAIMS,
}
UNARY = [
    f"{service.name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name != "StreamCheckClaims"
]
CHECK = "LiquidationRulesService/CheckClaim"
GOOD_CLAIM = samples.check(samples.low_request()).SerializeToString()


@dataclass(frozen=True)
class Keys:
    """A file of keys, one for each permission, by its value."""

    path: Path
    by_permission: dict[str, str]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    path = tmp_path / "keys.json"
    return Keys(path, {each.value: _new(path, each) for each in Permission})


def _new(path: Path, *permissions: Permission) -> str:
    options = [text for each in permissions for text in ("--permission", each.value)]
    name = "-".join(each.value.replace(":", ".") for each in permissions)
    return run("keys", "new", name, "--file", str(path), *options).stdout.strip()


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


async def answer(
    server: Running, method: str, metadata: Any = (), request: bytes = b""
) -> tuple[int, str]:
    """The exchange's code and the gRPC code of a call's answer."""
    call = server.channel.unary_unary(f"/liquidation.v1.{method}")
    try:
        await call(request, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        data = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
        code = details_of(status_pb2.Status.FromString(data)).error.code
        return code, error.code().name
    return 0, "OK"


DENIED = (-1002, "PERMISSION_DENIED")
NOT_TAKEN = (-1002, "UNAUTHENTICATED")
MALFORMED = (-1001, "UNAUTHENTICATED")


async def test_a_key_opens_the_service_of_its_permission_and_admin_all(
    tmp_path: Path, keys: Keys
) -> None:
    good = keys.by_permission["check"]
    no_keys = ["", "Bearer", good, f"Basic {good}", f"Bearer {good}x", f"Bearer {good[:-1]}"]
    async with running(tmp_path, api_keys=keys.path) as server:
        for permission in Permission:
            metadata = bearer(keys.by_permission[permission.value])
            answers = {method: await answer(server, method, metadata) for method in UNARY}
            closed = {method for method, found in answers.items() if found[0] in {-1001, -1002}}
            assert set(UNARY) - closed == {
                method
                for method in UNARY
                if permission in {Permission.ADMIN, NEEDED[method.partition("/")[0]]}
            }
            assert {answers[method] for method in closed} <= {DENIED}
        assert {await answer(server, method) for method in UNARY} == {NOT_TAKEN}
        for header in no_keys:
            metadata = (("authorization", header),)
            assert await answer(server, CHECK, metadata) == MALFORMED, header
        assert await answer(server, CHECK, (*bearer(good), *bearer(good))) == MALFORMED


ITEM = rules_service_pb2.StreamCheckClaimsRequest(
    correlation_id="1", request=samples.check(samples.low_request())
).SerializeToString()


def stream(server: Running, key: str) -> Any:
    path = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
    return server.channel.stream_stream(path)(metadata=bearer(key), timeout=30)


async def next_item(call: Any) -> rules_service_pb2.StreamCheckClaimsResponse:
    """The answer to one more item of a stream."""
    await call.write(ITEM)
    return rules_service_pb2.StreamCheckClaimsResponse.FromString(await call.read())


async def test_a_stream_of_a_key_without_the_permission_ends_with_the_refusal(
    tmp_path: Path, keys: Keys
) -> None:
    async with running(tmp_path, api_keys=keys.path) as server:
        for permission in ("claims", "claims:force"):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await next_item(stream(server, keys.by_permission[permission]))
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_open_stream_ends_when_its_key_is_revoked(tmp_path: Path, keys: Keys) -> None:
    async with running(tmp_path, api_keys=keys.path) as server:
        call = stream(server, keys.by_permission["check"])
        assert (await next_item(call)).result.HasField("accepted")
        await run_apart("keys", "revoke", "check", "--file", str(keys.path))

        answered = [await next_item(call)]
        with suppress(grpc.aio.AioRpcError):
            while answered[-1].result.HasField("accepted"):
                answered.append(await next_item(call))

        assert (await call.code()).name == "UNAUTHENTICATED"
    assert all(each.result.HasField("accepted") for each in answered)


async def test_to_cancel_by_force_needs_both_permissions(tmp_path: Path, keys: Keys) -> None:
    both = _new(keys.path, Permission.CLAIMS, Permission.CLAIMS_FORCE)
    begin = ParseDict(
        samples.low_request() | {"request_id": "r-1"}, claim_service_pb2.BeginClaimRequest()
    )
    async with running(tmp_path, api_keys=keys.path) as server:
        call = server.channel.unary_unary("/liquidation.v1.ClaimService/BeginClaim")
        begun = claim_service_pb2.BeginClaimResponse.FromString(
            await call(begin.SerializeToString(), metadata=bearer(both), timeout=30)
        )
        cancel = claim_service_pb2.CancelClaimRequest(
            claim_id=begun.claim.claim_id, reason="why", force=True
        ).SerializeToString()

        codes = [
            await answer(server, "ClaimService/CancelClaim", bearer(key), cancel)
            for key in (
                keys.by_permission["claims"],
                keys.by_permission["claims:force"],
                keys.by_permission["check"],
                both,
            )
        ]

    assert codes == [DENIED, DENIED, DENIED, (0, "OK")]


async def test_health_and_reflection_need_no_key(tmp_path: Path, keys: Keys) -> None:
    async with running(tmp_path, api_keys=keys.path) as server:
        async for response in health(server.channel, "liquidation.v1.ClaimService"):
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = [each async for each in stub.ServerReflectionInfo(iter([listing]))]

    assert "liquidation.v1.ClaimService" in {
        service.name for service in listed[0].list_services_response.service
    }


async def test_a_key_is_made_and_revoked_while_the_server_runs(tmp_path: Path, keys: Keys) -> None:
    async with running(tmp_path, api_keys=keys.path) as server:
        key = (
            await run_apart(
                *("keys", "new", "late", "--file", str(keys.path), "--permission", "check")
            )
        ).stdout.strip()
        # Until the server has looked at the file again.
        while await answer(server, CHECK, bearer(key), GOOD_CLAIM) != (0, "OK"):
            pass

        await run_apart("keys", "revoke", "late", "--file", str(keys.path))
        while await answer(server, CHECK, bearer(key), GOOD_CLAIM) != NOT_TAKEN:
            pass

        others = bearer(keys.by_permission["check"])
        assert await answer(server, CHECK, others, GOOD_CLAIM) == (0, "OK")


async def test_a_file_that_is_spoiled_keeps_the_keys_in_force(tmp_path: Path, keys: Keys) -> None:
    key = keys.by_permission["check"]
    async with running(tmp_path, api_keys=keys.path) as server:
        keys.path.write_text(f'{{"keys": [], "{key}": "{key}"}}')
        await server.lines("reload_failed", 1)

        assert await answer(server, CHECK, bearer(key), GOOD_CLAIM) == (0, "OK")

    assert key[16:] not in (tmp_path / "decisions.log").read_text()


async def test_the_log_names_the_key_and_nothing_shows_it(
    tmp_path: Path, keys: Keys, capfd: pytest.CaptureFixture[str]
) -> None:
    check, claims = keys.by_permission["check"], keys.by_permission["claims"]
    unknown = "lq_ffffffffffff" + check[15:]
    headers = [f"Bearer {check}", f"Bearer {claims}", f"Bearer {unknown}", f"Token {check}"]
    async with running(tmp_path, api_keys=keys.path) as server:
        for header in headers:
            await answer(server, CHECK, (("authorization", header),), GOOD_CLAIM)
        lines = await server.lines(count=len(headers))

    assert [(line["code"], line["caller"]) for line in lines] == [
        (0, "check"),
        (-1002, ""),
        (-1002, ""),
        (-1001, ""),
    ]
    printed = capfd.readouterr()
    written = (tmp_path / "decisions.log").read_text() + printed.out + printed.err
    assert not any(secret[16:] in written for secret in (check, claims))
