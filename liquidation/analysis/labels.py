"""How a report names and colours things."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Final

__all__ = [
    "ACCEPTED",
    "REFUSED",
    "code_label",
    "duration",
    "look_of",
    "shown",
    "usdc",
    "utc",
]

# The colours are Paul Tol's "bright" scheme, which colour-blind people tell apart; what shares a
# colour differs by its pattern.
ACCEPTED: Final = "#4477AA"
REFUSED: Final = "#EE6677"
_GREY: Final = "#BBBBBB"
_LOOKS: Final = {
    0: (ACCEPTED, ""),
    -1201: (REFUSED, ""),
    -1202: ("#CCBB44", ""),
    -1005: ("#AA3377", ""),
    -1012: ("#66CCEE", ""),
    -1101: ("#228833", ""),
    -1103: ("#228833", "/"),
    -1004: ("#AA3377", "/"),
    -1007: ("#66CCEE", "/"),
    -1011: (_GREY, ""),
    -1000: (_GREY, "x"),
    -1003: (_GREY, "/"),
}
_WORDS: Final = {
    0: "accepted",
    -1000: "unknown error",
    -1003: "too many calls",
    -1004: "unknown field",
    -1005: "wrong format",
    -1007: "duplicate request",
    -1011: "store not reached",
    -1012: "in process",
    -1101: "margin too small",
    -1103: "limit price",
    -1201: "ratio too small",
    -1202: "not found, or margin enough",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US: Final = 1_000_000


def shown(text: str) -> str:
    """A text of the log as HTML: what a caller wrote stays text, and draws nothing."""
    return escape(
        "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def usdc(amount: Decimal) -> str:
    """An amount to the cent, with separators of thousands."""
    return f"{amount:,.2f}"


def utc(time_us: int, width_us: int = _SECOND_US) -> str:
    """A time since the Unix epoch as people read it, as fine as slots of this width need."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    if width_us >= 86_400 * _SECOND_US:
        return f"{moment:%Y-%m-%d}"
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    return text if width_us >= _SECOND_US else f"{text}.{moment.microsecond // 1000:03d}"


def duration(microseconds: int) -> str:
    """A span in the unit that suits it."""
    for unit, size in (("s", _SECOND_US), ("ms", 1000)):
        if microseconds >= size:
            return (
                f"{microseconds / size:,.3g} {unit}"
                if microseconds < 1000 * size
                else f"{microseconds // size:,} {unit}"
            )
    return f"{microseconds} µs"


def code_label(code: int) -> str:
    """A code with what it means in a few words."""
    words = _WORDS.get(code, "")
    return words if code == 0 else f"{code} {words}".strip()


def look_of(code: int) -> tuple[str, str]:
    """The colour in which a code is drawn, and the pattern: "", "/" or "x"."""
    return _LOOKS.get(code, (_GREY, "x"))
