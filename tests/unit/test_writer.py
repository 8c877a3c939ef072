"""Lines come from several threads, and whatever goes wrong a call leaves its line."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liquidation.decisionlog import entry
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.errors import CALL_ABANDONED
from liquidation.rules.model import Refusal
from tests import samples
from tests.analysis.schema import problems_of_log
from tests.service.metrics.at_work import at_work
from tests.unit.deciding import decision_on, request_of, stored

CALL = CallInfo("CheckClaim", "ipv4:127.0.0.1:1", "", 0)
MESSAGE = samples.check(samples.low_request())
EACH = 400


@pytest.fixture
def _many_switches() -> Iterator[None]:
    """Threads are switched as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _write(log: DecisionLog, name: str, begin: threading.Barrier) -> None:
    request, decision = request_of(samples.low_request()), decision_on(samples.low_request())
    refusal = Refusal(CALL_ABANDONED)
    begin.wait()
    for number in range(EACH):
        decision_id = f"{name}-{number}"
        log.decision(decision_id, CALL, request, MESSAGE, decision)
        log.claim_change(decision_id, CALL, "renew", {}, None, refusal, "default")
        log.liquidation(decision_id, CALL, "opened", stored(samples.low()))
        log.note("info", "draining")


@pytest.mark.usefixtures("_many_switches")
@pytest.mark.parametrize("masked", [(), ("account_id",)], ids=["plain", "masked"])
def test_lines_of_threads_at_once_are_numbered_in_the_order_of_the_file(
    tmp_path: Path, masked: tuple[str, ...]
) -> None:
    path = tmp_path / "decisions.log"
    sink = LogSink(os.open(path, os.O_WRONLY | os.O_CREAT), lambda _: b"", 1 << 30)
    log = DecisionLog(
        sink, "p", 0, lambda: "2026-11-22T18:11:47.936616Z", lambda: 0,
        Masking(masked, "secret"), Sampling(),
    )  # fmt: skip
    begin = threading.Barrier(3)
    names = ("answering", "committing", "reaping")
    threads = [threading.Thread(target=_write, args=(log, name, begin)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sink.close(60) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    numbered = [line for line in lines if line["event"] != "draining"]
    assert [line["seq"] for line in numbered] == list(range(1, len(threads) * EACH * 3 + 1))
    assert len(lines) == len(threads) * EACH * 4
    # Each line is whole, and a thread's own are in its order.
    for name in names:
        own = [line for line in numbered if line["decision_id"].startswith(name)]
        assert [line["decision_id"] for line in own] == [
            f"{name}-{number}" for number in range(EACH) for _ in range(3)
        ]
    assert Counter(line["event"] for line in numbered) == dict.fromkeys(
        ("decision", "claim", "liquidation"), len(threads) * EACH
    )


@pytest.mark.parametrize("call", ["CheckClaim", "BeginClaim"])
def test_a_request_that_cannot_be_written_down_is_refused_and_told_by_its_bytes(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> dict[str, Any]:
        raise RuntimeError("ours")

    monkeypatch.setattr(entry, "MessageToDict", fails)
    bad: dict[str, Any] = {"ratio_qty_request": "half"}
    with at_work(tmp_path) as work:
        if call == "CheckClaim":
            refused = work.check(samples.check(samples.low_request(bad))).refused
            assert refused is not None
            assert refused.code == -1000
        else:
            assert work.begin("order-1", terms=bad) is None
        lines = work.lines()

    (line,) = [each for each in lines if each["event"] in {"decision", "claim"}]
    faults = [each for each in lines if each["event"] == "fault"]
    assert (line["code"], line["rpc"]) == (-1000, call)
    assert line["request"]["head_base64"]
    assert faults
    assert all("RuntimeError: ours" in each["traceback"] for each in faults)
    assert problems_of_log(tmp_path / "decisions.log") == []
