"""The decision log's writer: one JSON line for each decision, and for what else people ask about.

Numbered lines (`decision`, `claim`, `liquidation`) carry `process` and `seq`, which has no gap
within one run of one process: a number that is missing is a line that was lost.
"""

import logging
from collections.abc import Callable, Mapping
from traceback import format_exception
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict

from liquidation.decisionlog.entry import Disagreement, disagreement
from liquidation.decisionlog.observer import ClaimEnd, Observer
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.rules.errors import STORE_NOT_REACHED, UNKNOWN_ERROR
from liquidation.rules.model import Decision, Refusal
from liquidation.rules.numbers import ONE, Ratio, plain

__all__ = ["DecisionLog"]

_LEVELS: Final = {UNKNOWN_ERROR.code: "error", STORE_NOT_REACHED.code: "warning"}
_END_OF: Final = {
    "complete": ClaimEnd.COMPLETED,
    "cancel": ClaimEnd.CANCELLED,
    "expire": ClaimEnd.EXPIRED,
}
_US: Final = 1_000_000


class DecisionLog:
    """Writes the log's lines. No call waits for the sink, and none fails because of it."""

    def __init__(
        self,
        sink: LogSink,
        process: str,
        worker: int,
        now: Callable[[], str],
        masking: Masking,
        sampling: Sampling,
        observer: Observer | None = None,
    ) -> None:
        """`process` names this run of this process, `worker` its place among those of a port.

        `now` gives the time as RFC 3339 text. `observer` is told of all that the log is told.
        """
        self._sink = sink
        self._observer = observer or Observer()
        self.process = process
        self._worker = worker
        self._masking = masking
        self._sampling = sampling
        self._seq = 0
        self._now = now
        self._log = structlog.wrap_logger(
            _Lines(sink),
            processors=[_render],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        ).bind()

    @property
    def lost(self) -> int:
        """How many lines the sink could not take so far."""
        return self._sink.lost

    def decision(
        self,
        verdict: Decision,
        fields: Mapping[str, Any],
        request: object,
        candidate: Decision | None = None,
    ) -> None:
        """One decision: who asked for what (`fields`), the verdict, and what it was made from.

        `candidate` is what the candidate rules say of it. Where only a share of the accepted ones
        is told, what is left out has no number either; what the candidate disagrees with is told.
        """
        kind = disagreement(verdict, candidate)
        self._decided(verdict, fields, kind)
        if verdict.accepted and kind is None and not self._sampling.keeps():
            return
        self._verdict("decision", verdict, fields, request, candidate if kind else None)

    def claim(
        self,
        verdict: Decision,
        fields: Mapping[str, Any],
        request: object,
        candidate: Decision | None = None,
    ) -> None:
        """One BeginClaim: as a decision, and the claim that came of it.

        One that was known (`fields`) is not decided again, and so not counted or compared.
        """
        kind = None
        if not fields["known"]:
            kind = disagreement(verdict, candidate)
            self._decided(verdict, fields, kind)
            if verdict.accepted:
                self._observer.claim_begun()
        self._verdict("claim", verdict, fields, request, candidate if kind else None)

    def claim_change(
        self, refusal: Refusal | None, fields: Mapping[str, Any], request: Mapping[str, Any]
    ) -> None:
        """A claim was renewed, ended or expired, or a call to do so was refused."""
        if refusal is None and not fields["known"]:
            ended = _END_OF.get(fields["change"])
            if ended is not None:
                self._observer.claim_ended(ClaimEnd.FORCED if request.get("force") else ended)
        self._numbered(_level(refusal), "claim", {**fields, **_outcome(refusal)}, request)

    def _decided(
        self, verdict: Decision, fields: Mapping[str, Any], kind: Disagreement | None
    ) -> None:
        refusal = verdict.refusal
        code, rule = (0, "") if refusal is None else (refusal.row.code, refusal.rule)
        self._observer.decided(fields["rpc"], code, rule, fields["latency_us"] / _US)
        for refused in verdict.shadow:
            self._observer.shadow_refused(refused.rule)
        if kind is not None:
            self._observer.disagreed(kind.value)

    def _verdict(
        self,
        event: str,
        verdict: Decision,
        fields: Mapping[str, Any],
        request: object,
        candidate: Decision | None,
    ) -> None:
        refusal = verdict.refusal
        line = self._head(_level(refusal), event)
        line.update(fields)
        line.update(_outcome(refusal))
        line["total_notional"] = _number(verdict.total_notional)
        line["least_req_ratio"] = _number(verdict.least_req_ratio)
        line["margin_ratio"] = _number(verdict.margin_ratio)
        line["maintenance_margin_ratio"] = _number(verdict.maintenance_margin_ratio)
        line["revision"] = verdict.liquidation_revision
        line["rules_version"] = verdict.rules_version
        if verdict.shadow:
            line["shadow"] = [
                {"rule": refusal.rule, "code": refusal.row.code, "message": refusal.message}
                for refusal in verdict.shadow
            ]
        if candidate is not None:
            line["candidate"] = {
                "rules_version": candidate.rules_version,
                **_outcome(candidate.refusal),
            }
        self._number_line(line, request)

    def liquidation(
        self, change: str, refusal: Refusal | None, fields: Mapping[str, Any], request: object
    ) -> None:
        """A liquidation was opened or closed, or a call to do so was refused."""
        self._observer.liquidation(change)
        line = {**fields, "change": change, **_outcome(refusal)}
        self._numbered(_level(refusal), "liquidation", line, request)

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
        line = self._head(level, event) | fields
        self._write(line | {"process": self.process, "worker": self._worker})

    def _numbered(self, level: str, event: str, fields: Mapping[str, Any], request: object) -> None:
        self._number_line({**self._head(level, event), **fields}, request)

    def _number_line(self, line: dict[str, Any], request: object) -> None:
        """Writes `line`, which is this log's own from now on, with its number and the request."""
        self._seq += 1
        if self._masking.masks:
            line = self._masking.apply({**line, "request": request})
            request = line.pop("request")
        line["process"] = self.process
        line["worker"] = self._worker
        line["seq"] = self._seq
        if self._sampling.share != ONE:
            line["sample"] = plain(self._sampling.share)
        # The request comes last: it is the longest, and read by few.
        line["request"] = request
        self._write(line)

    def _head(self, level: str, event: str) -> dict[str, Any]:
        """Time, level and event come first: what a person reads a line by."""
        return {"timestamp": self._now(), "level": level, "event": event}

    def _write(self, line: dict[str, Any]) -> None:
        self._observer.line(line["event"])
        # As one value: structlog would copy each of thirty keys three times.
        getattr(self._log, line["level"])(line["event"], line=line)


class _Lines:
    """What structlog hands rendered lines to: every level goes to the one sink."""

    def __init__(self, sink: LogSink) -> None:
        self.info = self.warning = self.error = sink.write


def _render(_: object, __: str, told: EventDict) -> bytes:
    return orjson.dumps(told["line"], option=orjson.OPT_APPEND_NEWLINE)


def _level(refusal: Refusal | None) -> str:
    return "info" if refusal is None else _LEVELS.get(refusal.row.code, "info")


_ACCEPTED: Final = {"outcome": "accepted", "code": 0, "name": "", "message": "", "rule": ""}


def _outcome(refusal: Refusal | None) -> dict[str, Any]:
    if refusal is None:
        return _ACCEPTED
    row = refusal.row
    return {
        "outcome": "refused",
        "code": row.code,
        "name": row.kind.name,
        "message": refusal.message,
        "rule": refusal.rule,
    }


def _number(number: Ratio | None) -> str:
    return "" if number is None else plain(number)
