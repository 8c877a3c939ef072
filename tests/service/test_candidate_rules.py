"""Candidate rules beside those in force: what they disagree with is told, and nothing changes."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse

from liquidation.api import calls
from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.analysis.logged import REAL_REQUESTS
from tests.cli.commands import run
from tests.service.test_claims import begin_request
from tests.service.test_faults import break_store
from tests.sidecars import Refused, Running, running

CHECK = "LiquidationRulesService.CheckClaim"
BATCH = "LiquidationRulesService.BatchCheckClaims"
STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
BEGIN = "ClaimService.BeginClaim"

CANDIDATE = """
version = "next"
[tiers]
low.min_claim_notional = 20000
[modes]
limit_price = "off"
"""
ACCEPTED_BY_BOTH = samples.low_request()
WOULD_REFUSE = samples.low_request({"ratio_qty_request": "0.5"})
WOULD_ACCEPT = samples.low_request({"limit_price": {"PERP_BTC_USDC": "39999.5"}})
OTHER_REFUSAL = samples.low_request({"ratio_qty_request": "0.1"})
REFUSED_BY_BOTH = samples.low_request({"ratio_qty_request": "1.1"})
MALFORMED = samples.low_request({"ratio_qty_request": "one"})
REQUESTS = [
    samples.check(request)
    for request in (
        ACCEPTED_BY_BOTH, WOULD_REFUSE, WOULD_ACCEPT, OTHER_REFUSAL, REFUSED_BY_BOTH, MALFORMED,
    )
]  # fmt: skip
TOO_SMALL = {
    "rules_version": "next",
    "outcome": "refused",
    "code": -1201,
    "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
    "message": "least req ratio should = 0.6667",
    "rule": "least_request_ratio",
}
ACCEPTED = {
    "rules_version": "next",
    "outcome": "accepted",
    "code": 0,
    "name": "",
    "message": "",
    "rule": "",
}
# What the line of each of `REQUESTS` says of the candidate.
TOLD = [None, TOO_SMALL, ACCEPTED, TOO_SMALL, None, None]


def written(directory: Path, text: str, name: str = "candidate.toml") -> Path:
    file = directory / name
    file.write_text(text)
    return file


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return written(tmp_path, CANDIDATE)


@pytest.fixture
async def server(tmp_path: Path, candidate: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, candidate_rules=candidate) as server:
        yield server


def logged(directory: Path, event: str) -> list[dict[str, Any]]:
    """The lines of one event in the log of a server that has ended."""
    lines = map(json.loads, (directory / "decisions.log").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def batch_of(*requests: rules_service_pb2.CheckClaimRequest) -> bytes:
    return rules_service_pb2.BatchCheckClaimsRequest(requests=requests).SerializeToString()


async def answer(server: Running, name: str, request: bytes) -> bytes:
    """All that a caller gets: the message, or the status with its details."""
    try:
        return await server.raw(name, request)
    except Refused as refused:
        told: bytes = refused.trailers["grpc-status-details-bin"]
        return told


async def streamed(server: Running, *requests: rules_service_pb2.CheckClaimRequest) -> list[bytes]:
    async def items() -> AsyncIterator[bytes]:
        for number, request in enumerate(requests):
            item = rules_service_pb2.StreamCheckClaimsRequest(
                correlation_id=str(number), request=request
            )
            yield item.SerializeToString()

    return [answer async for answer in server.channel.stream_stream(STREAM)(items(), timeout=30)]


async def every_answer(server: Running) -> list[bytes]:
    """What is answered to each of `REQUESTS`, one by one, as a batch and as a stream."""
    alone = [await answer(server, CHECK, each.SerializeToString()) for each in REQUESTS]
    return [
        *alone,
        await answer(server, BATCH, batch_of(*REQUESTS)),
        *await streamed(server, *REQUESTS),
    ]


async def real_answers(server: Running) -> list[bytes]:
    requests = [
        Parse(line, rules_service_pb2.CheckClaimRequest())
        for line in REAL_REQUESTS.read_text().splitlines()
    ]
    return [await answer(server, CHECK, each.SerializeToString()) for each in requests]


async def test_a_line_has_the_candidate_exactly_where_it_disagrees(server: Running) -> None:
    await every_answer(server)

    lines = await server.lines(count=3 * len(REQUESTS))

    assert [(line["rpc"], line.get("candidate")) for line in lines] == [
        (rpc, told)
        for rpc in ("CheckClaim", "BatchCheckClaims", "StreamCheckClaims")
        for told in TOLD
    ]
    assert [line["rules_version"] for line in lines] == ["default"] * len(lines)


async def with_and_without(
    directory: Path, candidate: Path, asked: Callable[[Running], Awaitable[list[bytes]]]
) -> list[list[bytes]]:
    """What a server with a candidate answers, and one without; the first logs in `with`."""
    found = []
    for name, rules in (("with", candidate), ("without", None)):
        (directory / name).mkdir()
        async with running(directory / name, candidate_rules=rules) as server:
            answers = await asked(server)
            # The ids of decisions begin with that of their process, and count on from 1.
            (serving,) = await server.lines("serving", count=1)
            found.append([each.replace(serving["process"].encode(), b"") for each in answers])
    return found


@pytest.mark.parametrize("asked", [every_answer, real_answers], ids=["every rpc", "real requests"])
async def test_every_answer_is_to_the_byte_what_it_is_without_a_candidate(
    tmp_path: Path, candidate: Path, asked: Callable[[Running], Awaitable[list[bytes]]]
) -> None:
    told, expected = await with_and_without(tmp_path, candidate, asked)

    assert told == expected
    lines = logged(tmp_path / "with", "decision")
    assert any("candidate" in line for line in lines)


async def test_a_claim_is_granted_although_the_candidate_would_refuse_it(server: Running) -> None:
    request = begin_request(terms={"ratio_qty_request": "0.5"})

    granted = await server.call(BEGIN, request)
    again = await server.call(BEGIN, request)

    assert granted.claim.state == claim_service_pb2.CLAIM_STATE_ACTIVE
    assert again == granted
    begun, known = await server.lines("claim", count=2)
    assert begun["candidate"] == TOO_SMALL
    # It is the answer of before: nothing is decided again, by no rules.
    assert known["known"]
    assert "candidate" not in known


async def test_a_claim_is_refused_although_the_candidate_would_grant_it(server: Running) -> None:
    refused = await server.refused(
        begin_request(terms={"limit_price": {"PERP_BTC_USDC": "39999.5"}}), BEGIN
    )
    claims = await server.call("ClaimService.ListClaims", claim_service_pb2.ListClaimsRequest())

    assert refused.code == -1103
    assert list(claims.claims) == []
    (line,) = await server.lines("claim", count=1)
    assert line["candidate"] == ACCEPTED


async def test_a_claim_on_which_both_agree_has_no_candidate_in_its_line(server: Running) -> None:
    await server.call(BEGIN, begin_request())
    # The slot is taken, which the candidate sees as well; with other terms the id is used up.
    assert (await server.refused(begin_request("r-2"), BEGIN)).code == -1012
    other_terms = begin_request(terms={"ratio_qty_request": "0.5"})
    assert (await server.refused(other_terms, BEGIN)).code == -1007

    lines = await server.lines("claim", count=3)

    assert [line["code"] for line in lines] == [0, -1012, -1007]
    assert not any("candidate" in line for line in lines)


async def test_without_its_store_there_is_no_disagreement(tmp_path: Path) -> None:
    # Of two such rules the second needs no store, so the request is refused by it all the same.
    candidate = written(tmp_path, f'{CANDIDATE}ratio_qty_request_range = "off"\n')
    async with running(tmp_path, candidate_rules=candidate) as server:
        await server.refused(samples.check(REFUSED_BY_BOTH))
        (line,) = await server.lines(count=1)
        assert line["candidate"] == ACCEPTED
        break_store(server)

        await every_answer(server)
        await server.refused(begin_request(terms={"ratio_qty_request": "0.5"}), BEGIN)

        lines = (await server.lines(count=1 + 3 * len(REQUESTS)))[1:]
        lines += await server.lines("claim", count=1)
        assert {line["code"] for line in lines} == {-1011, -1005}
        assert not any("candidate" in line for line in lines)
        assert await server.lines("fault") == []


async def test_a_fault_in_the_candidate_changes_no_answer_and_is_told_under_its_decision(
    tmp_path: Path, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "evaluate_candidate", _fail)

    told, expected = await with_and_without(tmp_path, candidate, every_answer)

    assert told == expected
    lines, faults = (logged(tmp_path / "with", event) for event in ("decision", "fault"))
    assert not any("candidate" in line for line in lines)
    assert {fault["decision_id"] for fault in faults} == {line["decision_id"] for line in lines}
    assert len(faults) == len(lines) == 3 * len(REQUESTS)
    assert all("a candidate that cannot be asked" in fault["traceback"] for fault in faults)


async def test_a_claim_is_granted_although_the_candidate_cannot_be_asked(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "evaluate_candidate", _fail)

    begun = await server.call(BEGIN, begin_request(terms={"ratio_qty_request": "0.5"}))

    assert begun.decision.accepted
    (line,) = await server.lines("claim", count=1)
    (fault,) = await server.lines("fault", count=1)
    assert (line["outcome"], "candidate" in line) == ("accepted", False)
    assert fault["decision_id"] == line["decision_id"]


def _fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError("a candidate that cannot be asked")


async def test_a_log_with_a_candidate_is_replayed_as_it_stands(
    tmp_path: Path, candidate: Path
) -> None:
    async with running(tmp_path, candidate_rules=candidate) as server:
        await every_answer(server)
        await server.call(BEGIN, begin_request(terms={"ratio_qty_request": "0.5"}))
        lines = await server.lines(count=3 * len(REQUESTS)) + await server.lines("claim", count=1)
    told = Counter(line["candidate"]["code"] for line in lines if "candidate" in line)

    alone = run("logs", "replay", str(server.log_file), "--format", "json")
    beside = run(
        "logs", "replay", str(server.log_file), "--rules", str(candidate), "--format", "json"
    )

    assert (alone.exit_code, beside.exit_code) == (0, 0)
    assert json.loads(alone.stdout)["agreed"] == len(lines)
    # Replaying counts other codes alone; of each rpc one request is refused in other words.
    flips = json.loads(beside.stdout)["candidate"]
    assert flips["accepted_to_refused"]["count"] == 4
    assert flips["refused_to_accepted"]["count"] == told[0] == 3
    assert told[-1201] == 4 + 3
