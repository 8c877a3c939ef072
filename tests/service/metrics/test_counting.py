"""What is counted is what the log is told, decision by decision."""

import os
import sqlite3
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from liquidation.api import check
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics.prometheus import Metrics
from liquidation.rules.decision import Decision
from liquidation.rules.model import Tier
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from liquidation.v1 import claim_service_pb2 as claims_pb
from liquidation.v1 import liquidation_service_pb2 as liquidations_pb
from tests import samples
from tests.analysis.produced import REFUSED_BY
from tests.in_process import Answered
from tests.service.metrics.at_work import AtWork, at_work
from tests.service.metrics.scrapes import rendered

ACCEPTED = samples.check(samples.low_request())
PUT = liquidations_pb.PutLiquidationRequest(liquidation=samples.snapshot(samples.low()))


def test_decisions_are_counted_by_call_code_and_rule_as_the_log_has_them(
    tmp_path: Path,
) -> None:
    with at_work(tmp_path) as work:
        for request in (ACCEPTED, ACCEPTED, *REFUSED_BY.values()):
            work.check(request)
        work.stream(ACCEPTED)
        lines = work.lines("decision")

        seen = work.scrape()

    told = Counter((str(line["code"]), line["rpc"], line["rule"], "0") for line in lines)
    assert len(told) == 2 + len(REFUSED_BY)
    assert seen.counted("liquidation_decisions_total") == told
    durations = seen.counted("liquidation_decision_duration_seconds_count")
    assert durations == Counter((line["rpc"], "0") for line in lines)
    spent = sum(line["latency_us"] for line in lines) / 1_000_000
    sums = seen.series("liquidation_decision_duration_seconds_sum").values()
    assert sum(sums) == pytest.approx(spent)


def test_a_decision_that_sampling_leaves_out_is_counted(tmp_path: Path) -> None:
    with at_work(tmp_path, sampling=Sampling(Decimal("0.25"))) as work:
        for _ in range(8):
            work.check(ACCEPTED)

        seen = work.scrape()

        assert len(work.lines("decision")) == 2
    assert seen.counted("liquidation_decisions_total") == {("0", "CheckClaim", "", "0"): 8}
    assert seen.value("liquidation_log_lines_total", event="decision") == 2


def test_what_rules_in_shadow_would_have_refused_is_counted_by_rule(tmp_path: Path) -> None:
    policy = Policy(modes={"least_request_ratio": Mode.SHADOW, "limit_price": Mode.SHADOW})
    with at_work(tmp_path, policy) as work:
        for rule in ("least_request_ratio", "least_request_ratio", "limit_price", "tier_shape"):
            work.check(REFUSED_BY[rule])

        seen = work.scrape()

    assert seen.counted("liquidation_shadow_refusals_total") == {
        ("least_request_ratio", "0"): 2,
        ("limit_price", "0"): 1,
    }
    assert set(seen.series("liquidation_shadow_refusals_total")) == {
        (rule, "0") for rule in RULE_NAMES
    }


def test_disagreements_of_the_candidate_are_counted_by_kind(tmp_path: Path) -> None:
    candidate = Policy(
        version="next",
        min_claim_notional={Tier.LOW: Decimal(20000), Tier.HIGH: Decimal(5000)},
        modes={"limit_price": Mode.OFF},
    )
    half = samples.check(samples.low_request({"ratio_qty_request": "0.5"}))
    with at_work(tmp_path, candidate=candidate) as work:
        for request in (half, REFUSED_BY["limit_price"], REFUSED_BY["least_request_ratio"]):
            work.check(request)
        work.check(REFUSED_BY["tier_shape"])
        work.begin("order-1", terms={"ratio_qty_request": "0.5"})
        work.begin("order-1", terms={"ratio_qty_request": "0.5"})

        seen = work.scrape()

    assert seen.series("liquidation_candidate_disagreements_total") == {
        ("would_refuse", "0"): 2,
        ("would_accept", "0"): 1,
        ("other_refusal", "0"): 1,
    }


def test_each_claim_is_counted_once_when_it_begins_and_once_when_it_ends(
    tmp_path: Path,
) -> None:
    with at_work(tmp_path) as work:
        _claims_of_every_end(work)
        granted = [
            line
            for line in work.lines("claim")
            if line["change"] == "begin" and line["outcome"] == "accepted" and not line["known"]
        ]

        seen = work.scrape()

    assert seen.value("liquidation_claims_begun_total") == len(granted) == 4
    assert seen.series("liquidation_claims_ended_total") == {
        (how, "0"): 1 for how in ("completed", "cancelled", "forced", "expired")
    }
    # The known one is an answer that was given before, and no decision.
    decisions = seen.counted("liquidation_decisions_total", rpc="BeginClaim")
    assert decisions == {
        ("0", "", "0"): 4,
        ("-1012", "no_claim_in_process", "0"): 1,
        ("-1007", "request_id_unused", "0"): 1,
    }


def _claims_of_every_end(work: AtWork) -> None:
    def begin(request_id: str, revision: int, ratio: str = "1") -> Any:
        return work.begin(
            request_id,
            terms={"ratio_qty_request": ratio},
            liquidation={"revision": revision},
        )

    def cancel(claim: Any, **others: Any) -> Answered:
        request = claims_pb.CancelClaimRequest(claim_id=claim.claim_id, **others)
        return work.call("CancelClaim", request)

    def complete(claim: Any, fencing_token: int) -> Answered:
        request = claims_pb.CompleteClaimRequest(
            claim_id=claim.claim_id, fencing_token=fencing_token
        )
        return work.call("CompleteClaim", request)

    first = begin("order-1", 1)
    assert begin("order-1", 1) == first
    assert begin("order-1", 1, "0.5") is None
    assert begin("order-2", 1) is None
    for _ in range(2):
        assert cancel(first, fencing_token=first.fencing_token).refused is None
    second = begin("order-3", 1)
    for _ in range(2):
        assert cancel(second, reason="gone", force=True).refused is None
    assert begin("order-4", 1) is not None
    work.clock.advance(31)
    work.reaper.reap()
    work.reaper.reap()
    last = begin("order-5", 2)
    assert complete(last, last.fencing_token + 1).refused is not None
    for _ in range(2):
        assert complete(last, last.fencing_token).refused is None
    assert cancel(last, fencing_token=last.fencing_token).refused is not None


def test_liquidations_that_are_opened_closed_and_refused_are_counted(tmp_path: Path) -> None:
    with at_work(tmp_path) as work:
        for _ in range(2):
            assert work.call("PutLiquidation", PUT).refused is None
        close = liquidations_pb.CloseLiquidationRequest(liquidation_id=101)
        assert work.call("CloseLiquidation", close).refused is None
        assert work.call("CloseLiquidation", close).refused is not None

        seen = work.scrape()

    assert seen.series("liquidation_liquidations_total") == {
        (change, "0"): 1 for change in ("opened", "closed", "refused")
    }


def test_a_store_that_does_not_answer_is_counted_once_a_call(tmp_path: Path) -> None:
    with at_work(tmp_path) as work:
        with sqlite3.connect(tmp_path / "store.db") as other:
            other.execute("ALTER TABLE liquidation RENAME TO elsewhere")
        other.close()
        for _ in range(2):
            work.check(ACCEPTED)
        work.log.store_failed("it is gone")

        seen = work.scrape()

        assert [line["level"] for line in work.lines("store_unavailable")] == ["error"]
    assert seen.value("liquidation_store_errors_total") == 3
    assert seen.counted("liquidation_decisions_total") == {("-1011", "CheckClaim", "", "0"): 2}
    assert seen.value("liquidation_faults_total") == 0


def test_a_fault_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Decision:
        raise ValueError("ours")

    monkeypatch.setattr(check, "evaluate", fails)
    with at_work(tmp_path) as work:
        work.check(ACCEPTED)

        seen = work.scrape()

    assert seen.value("liquidation_faults_total") == 1
    assert seen.counted("liquidation_decisions_total") == {("-1000", "CheckClaim", "", "0"): 1}


def test_lines_are_counted_by_event_as_they_stand_in_the_file(tmp_path: Path) -> None:
    with at_work(tmp_path) as work:
        work.check(ACCEPTED)
        _claims_of_every_end(work)
        work.log.note("info", "draining")

        seen = work.scrape()

        told = Counter((line["event"], "0") for line in work.lines())
    assert len(told) == 4
    assert seen.counted("liquidation_log_lines_total") == told


def test_lines_that_are_lost_are_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    descriptor = os.open(tmp_path / "x.log", os.O_WRONLY | os.O_CREAT)
    sink = LogSink(descriptor, lambda _: b"", capacity_bytes=1)
    log = DecisionLog(sink, "p", 0, str, lambda: 0, Masking((), ""), Sampling(), metrics)
    metrics.watch(lambda: 3, lambda: log.lost)
    for _ in range(5):
        log.note("info", "draining")

    seen = rendered(metrics)

    sink.close(30)
    assert seen.value("liquidation_log_lines_lost_total") == 5
    assert seen.value("liquidation_calls_in_progress") == 3


def test_writes_that_share_a_commit_are_counted_with_it(tmp_path: Path) -> None:
    with at_work(tmp_path) as work:
        begun = [
            work.begun(
                "PutLiquidation",
                liquidations_pb.PutLiquidationRequest(
                    liquidation=samples.snapshot(samples.low(liquidation_id=number))
                ),
            )
            for number in range(1, 41)
        ]
        assert all(each.ended().refused is None for each in begun)

        seen = work.scrape()

    commits = seen.value("liquidation_group_commit_size_count")
    assert seen.value("liquidation_group_commit_size_sum") == 40
    assert 1 <= commits < 40
    assert seen.value("liquidation_group_commit_duration_seconds_count") == commits
    assert seen.value("liquidation_group_commit_duration_seconds_sum") > 0


def test_a_group_that_is_not_committed_is_not_counted_as_one(tmp_path: Path) -> None:
    with at_work(tmp_path) as work:
        with sqlite3.connect(tmp_path / "store.db") as other:
            other.execute("ALTER TABLE liquidation RENAME TO elsewhere")
        other.close()
        refused = work.call("PutLiquidation", PUT).refused

        seen = work.scrape()

    assert refused is not None
    assert refused.code == -1011
    assert seen.value("liquidation_group_commit_size_count") == 0
