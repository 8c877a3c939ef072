"""A log line as people read it: one line of pieces, each with its style."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from liquidation.cli.texts import printable

__all__ = ["Piece", "latency", "pieces"]

# A text and how it is drawn.
Piece = tuple[str, str]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STYLES: Final = {"accepted": "green", "refused": "red"}
_LEVELS: Final = {"error": "bold red", "warning": "yellow"}
# Calls whose names say no more than what is asked.
_ACTIONS: Final = {
    "CheckClaim": "check",
    "BatchCheckClaims": "batch",
    "StreamCheckClaims": "stream",
    "PutLiquidation": "put",
    "BatchPutLiquidations": "put all",
    "CloseLiquidation": "close",
}
# What a note says beside its event; keys that are not listed are not shown.
_TOLD: Final = (
    "addresses", "rules_version", "store", "workers", "decision_id", "file", "problem", "lost",
    "log_lines_lost",
)  # fmt: skip
# Characters of a claim's id that tell it from others.
_SHORT: Final = 8
_MAX_RATIOS: Final = 3
# Characters of an id or of a ratio that are shown.
_MAX_TEXT: Final = 24
_MS: Final = 1000


def pieces(fields: Mapping[str, Any], *, short: bool = False) -> list[Piece]:
    """What a line says, in order. With `short` the time is without its date."""
    time = str(fields.get("timestamp", ""))
    shown = f"{time[:10]} {time[11:23]}".strip()
    head = [(shown[11:] if short else shown, "dim")]
    tell = _EVENTS.get(str(fields.get("event")), _note) if "seq" in fields else _note
    told = [*head, *tell(fields)]
    return [(printable(text).replace("\n", " "), style) for text, style in told if text]


def latency(microseconds: object) -> str:
    """A span as people read it; "" where there is none."""
    if not isinstance(microseconds, int):
        return ""
    if microseconds < _MS:
        return f"{microseconds} µs"
    if microseconds < _MS * _MS:
        return f"{microseconds / _MS:.1f} ms"
    return f"{microseconds / _MS / _MS:.2f} s"


def _decision(fields: Mapping[str, Any]) -> list[Piece]:
    return [*_outcome(fields), *_asked(fields), *_why(fields)]


def _claim(fields: Mapping[str, Any]) -> list[Piece]:
    told = [*_outcome(fields), *_asked(fields), *_why(fields)]
    if claim_id := str(fields.get("claim_id", "")):
        told.append((f"claim {claim_id[:_SHORT]}", "cyan"))
        told.append((str(fields.get("state", "")), "cyan"))
        if fields.get("state") == "ACTIVE":
            told.append((f"until {_clock(fields.get('expire_us'))}", ""))
        if fields.get("known") is True:
            told.append(("(known)", "dim"))
        request = fields.get("request")
        if isinstance(request, dict) and request.get("force") is True:
            told.append(("by force", "bold yellow"))
        if reason := str(fields.get("end_reason") or ""):
            told.append((f"“{reason}”", ""))
    return told


def _liquidation(fields: Mapping[str, Any]) -> list[Piece]:
    revision = fields.get("revision")
    told = [*_outcome(fields), *_asked(fields), *_why(fields)]
    return [*told, (f"revision {revision}", "")] if revision else told


def _note(fields: Mapping[str, Any]) -> list[Piece]:
    style = _LEVELS.get(str(fields.get("level")), "bold")
    told = [(str(fields.get("event", "")), style)]
    for key in _TOLD:
        value = fields.get(key)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value is not None and value != "":
            told.append((f"{key}={value}", ""))
    if isinstance(traceback := fields.get("traceback"), str):
        # The last line names the error; the others say where.
        told.append((traceback.strip().rpartition("\n")[2], "red"))
    return told


_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Piece]]]] = {
    "decision": _decision,
    "claim": _claim,
    "liquidation": _liquidation,
}


def _outcome(fields: Mapping[str, Any]) -> list[Piece]:
    outcome = str(fields.get("outcome", ""))
    style = _STYLES.get(outcome, "")
    rpc = str(fields.get("rpc", ""))
    action = str(fields.get("change") or _ACTIONS.get(rpc, rpc))
    if action == "refused":
        action = _ACTIONS.get(rpc, rpc)
    return [(f"{outcome:8}", style), (f"{fields.get('code', '')!s:>5}", style), (f"{action:8}", "")]


def _asked(fields: Mapping[str, Any]) -> list[Piece]:
    liquidation_id = fields.get("liquidation_id") or "-"
    return [
        (f"{liquidation_id!s:>6}", "bold"),
        (f"{_or_dash(fields.get('account_id')):12}", ""),
        (f"{_or_dash(fields.get('liquidator_id')):12}", ""),
        (f"{_clipped(_ratio(fields)):6}", ""),
        (f"{latency(fields.get('latency_us')):>8}", "dim"),
    ]


def _why(fields: Mapping[str, Any]) -> list[Piece]:
    rule, message = str(fields.get("rule", "")), str(fields.get("message", ""))
    told = [(f"{rule}:" if rule and message else rule, "yellow"), (message, "")]
    shadow = fields.get("shadow")
    if isinstance(shadow, list):
        rules = ", ".join(str(each.get("rule")) for each in shadow if isinstance(each, dict))
        told.append((f"(in shadow: {rules})", "yellow"))
    candidate = fields.get("candidate")
    if isinstance(candidate, dict):
        otherwise = str(candidate.get("rule") or candidate.get("outcome"))
        told.append((f"(candidate {candidate.get('rules_version')}: {otherwise})", "yellow"))
    return told


def _ratio(fields: Mapping[str, Any]) -> str:
    """What is asked for, such as "1+0.05" or "0.5,1"."""
    ratio = str(fields.get("ratio_qty_request", ""))
    if not ratio:
        ratio = _ratios(fields.get("request"))
    extra = str(fields.get("extra_liquidation_ratio", ""))
    return f"{ratio}+{extra}" if ratio and extra not in {"", "0"} else ratio


def _ratios(request: object) -> str:
    terms = request.get("terms") if isinstance(request, dict) else None
    named = terms.get("symbols") if isinstance(terms, dict) else None
    if not isinstance(named, list):
        return ""
    ratios = [str(each.get("ratio_qty_request")) for each in named if isinstance(each, dict)]
    return ",".join(ratios[:_MAX_RATIOS]) + (",…" if len(ratios) > _MAX_RATIOS else "")


def _or_dash(value: object) -> str:
    return _clipped(str(value)) if value else "-"


def _clipped(text: str) -> str:
    """A caller may send an id or a ratio of any length."""
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _clock(microseconds: object) -> str:
    if not isinstance(microseconds, int):
        return ""
    try:
        return f"{_EPOCH + timedelta(microseconds=microseconds):%H:%M:%S}"
    except OverflowError:
        return ""
