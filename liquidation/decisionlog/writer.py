"""The decision log's writer: one JSON line for each decision, and for what else people ask about.

Numbered lines (`decision`, `claim`, `liquidation`) carry `process` and `seq`, which has no gap
within one run of one process: a number that is missing is a line that was lost.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from traceback import format_exception
from typing import Any, Final

import orjson
import structlog
from google.protobuf.message import Message
from structlog.typing import EventDict

from liquidation.decisionlog.entry import (
    CallInfo,
    add_call,
    add_decision,
    add_outcome,
    add_request,
    claim_fields,
    claim_head,
    decision_line,
    disagreement,
    liquidation_head,
)
from liquidation.decisionlog.observer import ClaimEnd, Observer
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.rules.decision import Decision, facts_of
from liquidation.rules.errors import STORE_NOT_REACHED, UNKNOWN_ERROR
from liquidation.rules.model import Claim, ClaimRequest, Liquidation, Refusal
from liquidation.rules.numbers import plain
from liquidation.rules.parse import MAX_ID
from liquidation.rules.record import Record

_LEVELS: Final = {UNKNOWN_ERROR.code: "error", STORE_NOT_REACHED.code: "warning"}
_END_OF: Final = {
    "complete": ClaimEnd.COMPLETED,
    "cancel": ClaimEnd.CANCELLED,
    "expire": ClaimEnd.EXPIRED,
}
_SECOND_US: Final = 1_000_000


class DecisionLog:
    """Writes the log's lines, from any thread. No call waits for the sink or fails because of it.

    A line is built once, in one dictionary, and rendered once.
    """

    def __init__(
        self,
        sink: LogSink,
        process: str,
        worker: int,
        now: Callable[[], str],
        monotonic_ns: Callable[[], int],
        masking: Masking,
        sampling: Sampling,
        observer: Observer | None = None,
    ) -> None:
        """`process` names this run of this process, `worker` its place among those of a port.

        `now` gives the time as RFC 3339 text, `monotonic_ns` the clock on which calls begin.
        `observer` is told of all that the log is told.
        """
        self._sink = sink
        self._observer = observer or Observer()
        self.process = process
        self._worker = worker
        self._masking = masking
        # Snapshots stand in a line as the JSON kept with them; what is masked must be there key by
        # key.
        self._rendered = not masking.masks
        self._sampling = sampling
        self._now = now
        self._monotonic_ns = monotonic_ns
        self._seq = 0
        # Lines come from the thread that answers and from the store's.
        self._lock = threading.Lock()
        self._notes = structlog.wrap_logger(
            _Lines(sink),
            processors=[self._add_head, _render],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        ).bind()

    @property
    def lost(self) -> int:
        """How many lines the sink could not take so far."""
        return self._sink.lost

    def held(self) -> AbstractContextManager[Any]:
        """Keeps numbered lines back while the block runs; notes are written all the same."""
        return self._lock

    def decision(
        self,
        decision_id: str,
        call: CallInfo,
        request: ClaimRequest,
        sent: Message | bytes,
        decision: Decision,
        candidate: Decision | None = None,
    ) -> None:
        """One decision: who asked for what, how it was decided, and what it was made from.

        `sent` is the message that came, or its bytes if they are none. `candidate` is what the
        candidate rules say. If only a share of the accepted ones is logged, what is left out has no
        number either; what the candidate disagrees with is always logged.
        """
        elapsed_us = self._elapsed_us(call)
        kind = disagreement(decision, candidate)
        if self._observer.counts:
            self._count(call, decision, elapsed_us)
        if kind is not None:
            self._observer.disagreed(kind.value)
        elif decision.refusal is None and not self._sampling.keeps():
            return
        line, asked = decision_line(
            request, sent, decision, candidate if kind else None, rendered=self._rendered
        )
        line["timestamp"] = self._now()
        line["level"] = _level(decision.refusal)
        line["decision_id"] = decision_id
        line["rpc"] = call.rpc
        add_call(line, call, elapsed_us)
        self._number(line, asked)

    def begin(
        self,
        decision_id: str,
        call: CallInfo,
        request_id: str,
        begin: Record,
        request: ClaimRequest,
        sent: Message | bytes,
        decision: Decision,
        claim: Claim | None = None,
        candidate: Decision | None = None,
        *,
        known: bool = False,
    ) -> None:
        """One BeginClaim: as a decision, and the claim that came of it.

        `begin` is what of the request a CheckClaim has not. A claim that was `known` is not decided
        again, and so not counted or compared; the line of its decision has the request.
        """
        elapsed_us = self._elapsed_us(call)
        kind = None
        if not known:
            kind = disagreement(decision, candidate)
            self._count(call, decision, elapsed_us)
            if kind is not None:
                self._observer.disagreed(kind.value)
            if decision.refusal is None:
                self._observer.claim_begun()
        line = self._head(_level(decision.refusal), "claim", decision_id, call.rpc)
        asked = add_request(line, request, sent, decision, rendered=self._rendered)
        add_call(line, call, elapsed_us)
        line["request_id"] = request_id[:MAX_ID]
        line["known"] = known
        line.update(claim_fields("begin", claim))
        add_decision(line, decision, candidate if kind else None)
        self._number(line, begin | asked)

    def claim_change(
        self,
        decision_id: str,
        call: CallInfo,
        change: str,
        asked: Record,
        claim: Claim | None,
        refusal: Refusal | None,
        rules_version: str,
        *,
        known: bool = False,
    ) -> None:
        """A claim was renewed, ended or expired, or a call to do so was refused.

        `asked` is what the call asked for. A change that was done before is told as `known`.
        """
        if refusal is None and not known:
            ended = _END_OF.get(change)
            if ended is not None:
                self._observer.claim_ended(ClaimEnd.FORCED if asked.get("force") else ended)
        line = self._head(_level(refusal), "claim", decision_id, call.rpc)
        line.update(claim_head(claim, rules_version))
        add_call(line, call, self._elapsed_us(call))
        line.update(claim_fields(change, claim))
        line["known"] = known
        add_outcome(line, refusal)
        self._number(line, asked)

    def liquidation(
        self, decision_id: str, call: CallInfo, change: str, liquidation: Liquidation
    ) -> None:
        """A liquidation was `opened` or `closed`."""
        head = liquidation_head(
            liquidation.liquidation_id, liquidation.account_id, liquidation.revision
        )
        record = {"liquidation": facts_of(liquidation).record}
        self._liquidation(decision_id, call, change, head, None, record)

    def liquidation_refused(
        self,
        decision_id: str,
        call: CallInfo,
        refusal: Refusal,
        liquidation_id: int = 0,
        account_id: str = "",
        revision: int = 0,
    ) -> None:
        """A call to open, refresh or close liquidations was refused."""
        head = liquidation_head(liquidation_id, account_id, revision)
        self._liquidation(decision_id, call, "refused", head, refusal, None)

    def _liquidation(
        self,
        decision_id: str,
        call: CallInfo,
        change: str,
        head: dict[str, Any],
        refusal: Refusal | None,
        record: Record | None,
    ) -> None:
        self._observer.liquidation(change)
        line = self._head(_level(refusal), "liquidation", decision_id, call.rpc)
        line.update(head)
        add_call(line, call, self._elapsed_us(call))
        line["change"] = change
        add_outcome(line, refusal)
        self._number(line, record)

    def fault(self, decision_id: str, error: BaseException) -> None:
        """An error that is nobody's answer, with its traceback."""
        self._observer.faulted()
        traceback = "".join(format_exception(error))
        self.note("error", "fault", decision_id=decision_id, traceback=traceback)

    def store_failed(self, problem: str, event: str = "store_unavailable", **fields: Any) -> None:
        """The store did not answer: the probe, or what the `event` of the line tells instead.

        That is `store_failed` for a call, `settling_failed` for the background.
        """
        self._observer.store_failed()
        level = "error" if event == "store_unavailable" else "warning"
        self.note(level, event, **fields, problem=problem)

    def note(self, level: str, event: str, **fields: Any) -> None:
        """Something about the process itself, such as that it serves or drains."""
        getattr(self._notes, level)(event, level=level, **fields)
        self._observer.line(event)

    def _add_head(self, _: object, __: str, fields: EventDict) -> EventDict:
        """Time, level and event come first, and last who says it."""
        head = {
            "timestamp": self._now(),
            "level": fields.pop("level"),
            "event": fields.pop("event"),
        }
        return {**head, **fields, "process": self.process, "worker": self._worker}

    def _elapsed_us(self, call: CallInfo) -> int:
        return (self._monotonic_ns() - call.started_ns) // 1000

    def _count(self, call: CallInfo, decision: Decision, elapsed_us: int) -> None:
        refusal = decision.refusal
        code, rule = (0, "") if refusal is None else (refusal.row.code, refusal.rule)
        self._observer.decided(call.rpc, code, rule, elapsed_us / _SECOND_US)
        for refused in decision.shadow:
            self._observer.shadow_refused(refused.rule)

    def _head(self, level: str, event: str, decision_id: str, rpc: str) -> dict[str, Any]:
        """Time, level and event come first: what a person reads a line by."""
        return {
            "timestamp": self._now(),
            "level": level,
            "event": event,
            "decision_id": decision_id,
            "rpc": rpc,
        }

    def _number(self, line: dict[str, Any], request: object) -> None:
        """Writes `line`, which is this log's own from now on, with its number and the request."""
        if not self._rendered:
            line = self._masking.apply({**line, "request": request})
            request = line.pop("request")
        line["process"] = self.process
        line["worker"] = self._worker
        with self._lock:
            self._seq += 1
            line["seq"] = self._seq
            if not self._sampling.keeps_all:
                line["sample"] = plain(self._sampling.share)
            # The request comes last: it is the longest, and read by few.
            line["request"] = request
            # Rendered here, as structlog's chain would take longer than the line itself.
            self._sink.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if self._observer.counts:
            self._observer.line(line["event"])


class _Lines:
    """What structlog hands rendered lines to: every level goes to the one sink."""

    def __init__(self, sink: LogSink) -> None:
        self.info = self.warning = self.error = sink.write


def _render(_: object, __: str, line: EventDict) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _level(refusal: Refusal | None) -> str:
    return "info" if refusal is None else _LEVELS.get(refusal.row.code, "info")
