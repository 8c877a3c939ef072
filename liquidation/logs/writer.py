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

from liquidation.core.catalogue import STORE_NOT_REACHED, UNKNOWN_ERROR
from liquidation.core.model import Refusal, Verdict
from liquidation.core.numbers import ONE, Ratio, plain
from liquidation.logs.masking import Masking, Sampling
from liquidation.logs.sink import LogSink

__all__ = ["DecisionLog"]

_LEVELS: Final = {UNKNOWN_ERROR.code: "error", STORE_NOT_REACHED.code: "warning"}


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
    ) -> None:
        """`process` names this run of this process, `worker` its place among those of a port.

        `now` gives the time as RFC 3339 text.
        """
        self._sink = sink
        self.process = process
        self._worker = worker
        self._masking = masking
        self._sampling = sampling
        self._seq = 0
        self._log = structlog.wrap_logger(
            _Lines(sink),
            processors=[_Head(now), _render],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        )

    @property
    def lost(self) -> int:
        """How many lines the sink could not take so far."""
        return self._sink.lost

    def decision(self, verdict: Verdict, fields: Mapping[str, Any], request: object) -> None:
        """One decision: who asked for what (`fields`), the verdict, and what it was made from.

        Where only a share of the accepted ones is told, what is left out has no number either.
        """
        if verdict.accepted and not self._sampling.keeps():
            return
        self._verdict("decision", verdict, fields, request)

    def claim(self, verdict: Verdict, fields: Mapping[str, Any], request: object) -> None:
        """One BeginClaim: as a decision, and the claim that came of it."""
        self._verdict("claim", verdict, fields, request)

    def claim_change(
        self, refusal: Refusal | None, fields: Mapping[str, Any], request: object
    ) -> None:
        """A claim was renewed, ended or expired, or a call to do so was refused."""
        self._numbered(_level(refusal), "claim", {**fields, **_outcome(refusal)}, request)

    def _verdict(
        self, event: str, verdict: Verdict, fields: Mapping[str, Any], request: object
    ) -> None:
        refusal = verdict.refusal
        line = {
            **fields,
            **_outcome(refusal),
            "total_notional": _number(verdict.total_notional),
            "least_req_ratio": _number(verdict.least_req_ratio),
            "margin_ratio": _number(verdict.margin_ratio),
            "maintenance_margin_ratio": _number(verdict.maintenance_margin_ratio),
            "revision": verdict.liquidation_revision,
            "rules_version": verdict.rules_version,
        }
        if verdict.shadow:
            line["shadow"] = [
                {"rule": refusal.rule, "code": refusal.row.code, "message": refusal.message}
                for refusal in verdict.shadow
            ]
        self._numbered(_level(refusal), event, line, request)

    def liquidation(
        self, change: str, refusal: Refusal | None, fields: Mapping[str, Any], request: object
    ) -> None:
        """A liquidation was opened or closed, or a call to do so was refused."""
        line = {**fields, "change": change, **_outcome(refusal)}
        self._numbered(_level(refusal), "liquidation", line, request)

    def fault(self, decision_id: str, error: BaseException) -> None:
        """An error that is nobody's answer, with its traceback."""
        traceback = "".join(format_exception(error))
        self.note("error", "fault", decision_id=decision_id, traceback=traceback)

    def note(self, level: str, event: str, **fields: Any) -> None:
        """Something about the process itself, such as that it serves or drains."""
        getattr(self._log, level)(event, **fields, process=self.process, worker=self._worker)

    def _numbered(self, level: str, event: str, fields: Mapping[str, Any], request: object) -> None:
        self._seq += 1
        line = self._masking.apply({**fields, "request": request})
        line |= {"process": self.process, "worker": self._worker, "seq": self._seq}
        if self._sampling.share != ONE:
            line["sample"] = plain(self._sampling.share)
        # The request comes last: it is the longest, and read by few.
        line["request"] = line.pop("request")
        getattr(self._log, level)(event, **line)


class _Lines:
    """What structlog hands rendered lines to: every level goes to the one sink."""

    def __init__(self, sink: LogSink) -> None:
        self.info = self.warning = self.error = sink.write


class _Head:
    """Puts time, level and event first: what a person reads a line by."""

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now

    def __call__(self, _: object, level: str, line: EventDict) -> EventDict:
        return {"timestamp": self._now(), "level": level, "event": line.pop("event"), **line}


def _render(_: object, __: str, line: EventDict) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _level(refusal: Refusal | None) -> str:
    return "info" if refusal is None else _LEVELS.get(refusal.row.code, "info")


def _outcome(refusal: Refusal | None) -> dict[str, Any]:
    if refusal is None:
        return {"outcome": "accepted", "code": 0, "name": "", "message": "", "rule": ""}
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
