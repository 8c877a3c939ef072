"""Texts that users give, and texts that are shown to them."""

from datetime import UTC, datetime
from typing import Any, Final

import click

from liquidation.rules.numbers import MAX_INT64

__all__ = ["Number", "Utf8", "moment", "printable"]

_INT64_DIGITS: Final = 19


class Number(click.ParamType[int]):
    """An id or a token: a whole number above zero that an int64 holds."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        text = str(value)
        # Python reads no number of thousands of digits, and says so with an error.
        digits = text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS
        number = int(text) if digits else 0
        if not 0 < number <= MAX_INT64:
            self.fail(f"{text[:40]!r} is not a whole number from 1 to {MAX_INT64}", param, ctx)
        return number


class Utf8(click.ParamType[str]):
    """A text that can be sent: a terminal of another encoding gives bytes that are none."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} is not UTF-8 text", param, ctx)
        return text


def printable(text: str) -> str:
    """`text` without control characters, which could draw on the user's screen."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def moment(time: datetime) -> str:
    """A time as people read it, to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
