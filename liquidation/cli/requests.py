"""What is asked: one request from flags, or one from each line of a file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click
from google.protobuf.json_format import Parse, ParseError

from liquidation.v1 import rules_service_pb2

__all__ = ["Line", "flags_given", "from_flags", "from_lines", "request_options"]

# Characters of a line's problem that are told.
_MAX_PROBLEM: Final = 200

_TERMS: Final = ("liquidation_id", "liquidator_id", "ratio", "extra", "symbol", "limit_price")
_SNAPSHOT: Final = (
    "account_id",
    "tier",
    "position",
    "margin_ratio",
    "maintenance_margin_ratio",
    "revision",
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file by its number, from 1: a request, or why it is none."""

    number: int
    request: rules_service_pb2.CheckClaimRequest | None
    problem: str = ""


class _Parts(click.ParamType[list[str]]):
    """SYMBOL:TEXT or SYMBOL:TEXT:TEXT, taken apart from the right; the texts go as they are."""

    name = "parts"

    def __init__(self, form: str) -> None:
        self._form = form

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        parts: list[str] = value.rsplit(":", self._form.count(":"))
        if not parts[0] or len(parts) != self._form.count(":") + 1:
            self.fail(f"{value!r} is not of the form {self._form}", param, ctx)
        return parts


def _repeated(flag: str, form: str, words: str) -> Callable[..., Any]:
    return click.option(flag, type=_Parts(form), metavar=form, multiple=True, help=words)


_OPTIONS: Final = (
    click.option("--liquidation-id", type=int, help="The liquidation that is claimed from."),
    click.option("--liquidator-id", metavar="ID", help="Who claims."),
    click.option("--ratio", metavar="RATIO", help="ratio_qty_request, 0..1 of every position."),
    click.option("--extra", metavar="RATIO", help="extra_liquidation_ratio, 0..1."),
    _repeated("--symbol", "SYMBOL:RATIO", "Tier HIGH: how much of a symbol; repeatable."),
    _repeated("--limit-price", "SYMBOL:PRICE", "No worse mark price than this; repeatable."),
    click.option("--account-id", metavar="ID", help="The account under liquidation."),
    click.option("--tier", type=click.Choice(["low", "high"]), help="Its tier."),
    _repeated("--position", "SYMBOL:QTY:PRICE", "A position to be taken over; repeatable."),
    click.option("--margin-ratio", metavar="RATIO", help="The account's margin ratio."),
    click.option("--maintenance-margin-ratio", metavar="RATIO", help="What it must not be below."),
    click.option("--revision", type=int, help="The snapshot's revision.  [default: 1]"),
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that make up one request."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def flags_given(flags: Mapping[str, Any]) -> bool:
    """Whether any flag of one request was given."""
    return any(value not in (None, ()) for value in flags.values())


def from_flags(flags: Mapping[str, Any]) -> rules_service_pb2.CheckClaimRequest:
    """The request that the flags make up; with a snapshot where any flag of one was given.

    What the flags leave out stays empty: whether that will do is for the rules to say.
    """
    request: dict[str, Any] = {
        "terms": {
            "liquidation_id": flags["liquidation_id"],
            "liquidator_id": flags["liquidator_id"],
            "ratio_qty_request": flags["ratio"],
            "extra_liquidation_ratio": flags["extra"],
            "symbols": [
                {"symbol": symbol, "ratio_qty_request": ratio} for symbol, ratio in flags["symbol"]
            ],
            "limit_price": dict(flags["limit_price"]),
        }
    }
    if flags_given({name: flags[name] for name in _SNAPSHOT}):
        request["liquidation"] = {
            "liquidation_id": flags["liquidation_id"],
            "account_id": flags["account_id"],
            "tier": f"TIER_{(flags['tier'] or 'unspecified').upper()}",
            "positions": [
                {"symbol": symbol, "position_qty": qty, "mark_price": price}
                for symbol, qty, price in flags["position"]
            ],
            "margin_ratio": flags["margin_ratio"],
            "maintenance_margin_ratio": flags["maintenance_margin_ratio"],
            "revision": 1 if flags["revision"] is None else flags["revision"],
        }
    try:
        return rules_service_pb2.CheckClaimRequest(**request)
    except ValueError as error:
        raise click.UsageError(f"--liquidation-id, --revision: {error}") from error


def from_lines(lines: Iterable[bytes], *, explain: bool) -> Iterator[Line]:
    """A request from each line that is not blank."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            request = _request(line)
        except ValueError as error:
            yield Line(number, None, str(error))
            continue
        if explain:
            request.explain = True
        yield Line(number, request)


def _request(line: bytes) -> rules_service_pb2.CheckClaimRequest:
    """The request in a line.

    Raises:
        ValueError: there is none; says why.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    try:
        return Parse(text, rules_service_pb2.CheckClaimRequest())
    except ParseError as error:
        raise ValueError(_problem(text, str(error))) from error


def _problem(text: str, problem: str) -> str:
    """Why `text` is no request: what the JSON parser says of it, else what protobuf says."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return "is not JSON that can be read: it is nested too deep"
    if not isinstance(value, dict):
        return "is no CheckClaimRequest: it must be a JSON object"
    return f"is no CheckClaimRequest: {problem.splitlines()[0][:_MAX_PROBLEM]}"
