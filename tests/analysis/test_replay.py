"""A log decided again: it holds all that was decided from, and tells what other rules change."""

import json
import shutil
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from liquidation.analysis.replay import Difference
from liquidation.decisionlog.redaction import Masking
from liquidation.rules.model import Tier
from liquidation.rules.policy import Mode, Policy
from liquidation.v1 import claim_service_pb2 as claims_pb
from liquidation.v1 import liquidation_service_pb2
from tests import samples
from tests.analysis.logged import REAL_REQUESTS, log_of_real_requests, replayed, rewritten
from tests.sidecars import Refused, Running, running
from tests.unit.deciding import add_unknown_field, decision_on

CANDIDATE = Policy(
    version="candidate", min_claim_notional={Tier.LOW: Decimal(20000), Tier.HIGH: Decimal(10000)}
)
LENIENT = Policy(
    version="lenient", min_claim_notional={Tier.LOW: Decimal(100), Tier.HIGH: Decimal(100)}
)


@pytest.fixture
def log(real_log: Path, tmp_path: Path) -> Path:
    """The log of all real requests under the built-in rules, to be written in."""
    return Path(shutil.copy(real_log, tmp_path))


@pytest.mark.parametrize("candidate", [CANDIDATE, LENIENT], ids=lambda policy: policy.version)
def test_flips_are_those_of_deciding_the_requests_afresh(log: Path, candidate: Policy) -> None:
    requests = [json.loads(line) for line in REAL_REQUESTS.read_text().splitlines()]
    before = [decision_on(request) for request in requests]
    after = [decision_on(request, policy=candidate) for request in requests]
    codes = [
        tuple(0 if each.refusal is None else each.refusal.row.code for each in pair)
        for pair in zip(before, after, strict=True)
    ]
    flipped = [place for place, (old, new) in enumerate(codes) if old != new]

    replay = replayed(log, candidate=candidate, examples=1000)

    assert flipped
    assert replay.matrix == Counter(codes)
    assert replay.flips.lines == len(flipped)
    assert replay.flips.notional == sum(
        Decimal(after[place].total_notional or 0) for place in flipped
    )
    assert replay.refused_now.lines == sum(codes[place][0] == 0 for place in flipped)
    assert replay.accepted_now.lines == sum(codes[place][1] == 0 for place in flipped)
    assert [each.account_id for each in replay.flipped] == [
        after[place].account_id for place in flipped
    ]
    assert sum(tally.lines for _, tally in replay.accounts.top(1000)) == len(flipped)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("code", -1202),
        ("name", "ANOTHER"),
        ("message", "other words"),
        ("rule", "limit_price"),
        ("total_notional", "356.8001"),
        ("least_req_ratio", "0.9"),
        ("margin_ratio", "0.00828613440885606"),
        ("maintenance_margin_ratio", "0.02"),
        ("revision", 2),
        ("account_id", "another"),
        ("liquidator_id", "another"),
        ("liquidation_id", 2),
        ("ratio_qty_request", "0.9"),
        ("extra_liquidation_ratio", "0.06"),
        ("shadow", []),
    ],
)
def test_what_was_changed_in_a_line_is_found(log: Path, key: str, said: Any) -> None:
    replay = replayed(rewritten(log, 0, **{key: said}))

    assert (replay.agreed, replay.disagreed) == (247, 1)
    assert [(each.key, each.logged) for each in replay.differences] == [(key, str(said))]


def test_a_request_that_was_changed_is_found(log: Path) -> None:
    request = json.loads(REAL_REQUESTS.read_text().splitlines()[0])
    request["liquidation"]["positions"][0]["position_qty"] = "356"

    replay = replayed(rewritten(log, 0, request=request | {"state": STATE}))

    (difference,) = (each for each in replay.differences if each.key == "total_notional")
    assert difference == Difference(
        difference.source, difference.decision_id, "total_notional", "356.80015", "356"
    )


def test_a_refusal_without_a_rule_is_none(log: Path) -> None:
    replay = replayed(rewritten(log, 0, outcome="refused"))

    assert (replay.agreed, replay.failed) == (247, {"its request cannot be read": 1})


STATE = {"closed": False, "liquidator_in_liquidation": False}


def test_a_request_that_is_none_is_told(log: Path) -> None:
    replay = replayed(rewritten(log, 0, request={"terms": {"liquidation_id": "1"}, "state": 5}))

    assert not replay.agrees
    assert replay.failed == {"its request cannot be read": 1}
    assert "rewritten.log:3: its request cannot be read" in replay.failures[0]


def unnamed(log: Path, version: str) -> Path:
    """A copy of a log whose process did not tell its rules, but this version of them."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    kept = [line | {"rules_version": version} for line in lines if line["event"] != "rules"]
    copy = log.with_name("unnamed.log")
    copy.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return copy


def test_built_in_rules_need_not_be_told(log: Path) -> None:
    assert replayed(unnamed(log, "default")).agreed == 248


async def test_rules_are_taken_from_the_process_that_told_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    logs = [
        await log_of_real_requests(first, LENIENT),
        await log_of_real_requests(second, CANDIDATE),
    ]

    replay = replayed(*logs)

    assert (replay.agreed, replay.disagreed) == (2 * 248, 0)


def test_rules_hold_for_what_stands_before_them(log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    rules = [line for line in lines if '"event":"rules"' in line]
    assert len(rules) == 1
    log.write_text("".join([line for line in lines if line not in rules] + rules))

    assert replayed(log).agreed == 248


async def test_masked_ids_are_left_out_where_a_rule_looks_at_them(server: Running) -> None:
    for liquidator_id in ("liquidator-1", "account-low"):
        with suppress(Refused):
            await server.check(samples.check(samples.low_request({"liquidator_id": liquidator_id})))
    await server.lines("decision", 2)

    replay = replayed(masked(server.log_file, "account_id"))

    assert (replay.agreed, replay.disagreed) == (1, 0)
    assert replay.left_out == {"ids that the rules look at are masked": 1}


def masked(log: Path, *keys: str) -> Path:
    """A log as a service that masks ids writes it."""
    masking = Masking(keys, "secret")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    copy = log.with_name("masked.log")
    copy.write_text("".join(json.dumps(masking.apply(line)) + "\n" for line in lines))
    return copy


def test_a_masked_log_agrees(log: Path) -> None:
    assert replayed(masked(log, "account_id", "liquidator_id")).agreed == 248


async def begin(server: Running, request_id: str, **request: Any) -> Any:
    body = samples.low_request(**request) | {"request_id": request_id}
    message = ParseDict(body, claims_pb.BeginClaimRequest())
    with suppress(Refused):
        return (await server.call("ClaimService.BeginClaim", message)).claim


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW, Mode.OFF])
async def test_claims_are_decided_from_what_was_stored_then(tmp_path: Path, mode: Mode) -> None:
    policy = Policy(version="claims", modes={"no_claim_in_process": mode})
    async with running(tmp_path, policy) as server:
        claim = await begin(server, "r-1")
        await begin(server, "r-2")
        await begin(server, "r-1")
        await begin(server, "r-1", terms={"ratio_qty_request": "0.9"})
        await begin(server, "")
        await begin(server, "r-3", liquidation={"account_id": "another"})
        complete = claims_pb.CompleteClaimRequest(
            claim_id=claim.claim_id, fencing_token=claim.fencing_token
        )
        await server.call("ClaimService.CompleteClaim", complete)
        await begin(server, "r-4")
        await begin(server, "r-5", liquidation={"revision": 8})
        await server.check(samples.check(samples.high_request()))

    replay = replayed(server.log_file)

    assert (replay.differences, replay.failures) == ([], [])
    assert replay.decisions == 9
    assert replay.left_out == {
        "a request_id that was known: answered as before": 1,
        "no rule of the policy decided: -1007": 1,
    }


async def test_stored_liquidations_and_odd_requests_are_decided_again(server: Running) -> None:
    put = liquidation_service_pb2.PutLiquidationRequest(
        liquidation=samples.snapshot(samples.low(revision=9))
    )
    unknown = samples.check(samples.low_request())
    add_unknown_field(unknown, "liquidation.positions[0]")
    large = samples.low_request({"liquidator_id": "x" * 20_000})
    requests = [
        samples.check({"terms": samples.low_terms()}),
        samples.check(samples.low_request()),
        samples.check({"terms": samples.low_terms(liquidation_id=5)}),
        samples.check({"terms": samples.low_terms(ratio_qty_request="a half")}),
        samples.check({}),
        unknown,
        samples.check(large),
    ]
    await server.call("LiquidationService.PutLiquidation", put)
    for request in requests:
        with suppress(Refused):
            await server.check(request)
    await server.lines("decision", len(requests))

    replay = replayed(server.log_file)

    assert (replay.differences, replay.failures) == ([], [])
    assert replay.agreed == len(requests) - 1
    assert replay.left_out == {"the request was cut, or was no message": 1}
