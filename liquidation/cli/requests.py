"""The requests of `liquidation check`, and who answers them.

One request comes from flags, or one from each line of a file. A server answers, in one of three
ways, or the rules in this process.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, Final

import click
from google.protobuf.json_format import Parse, ParseError

from liquidation.api.messages import parse_message, unreadable
from liquidation.api.status import fill_result
from liquidation.client import ClaimAnswer, LiquidationClient, LiquidationRefused
from liquidation.client.refused import claim_answer
from liquidation.rules import errors
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import FieldViolation, StoredState
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import Policy
from liquidation.v1.rules_service_pb2 import CheckClaimRequest, CheckClaimResult

# Answers requests in order, as it reads them.
Ask = Callable[[Iterable[CheckClaimRequest]], Iterable[ClaimAnswer]]

# What one batch holds at most; a server may take as little as its own limit of bytes.
_BATCH: Final = 500
_BATCH_BYTES: Final = 1024 * 1024
# Requests of a stream that may wait for their answers.
_UNDER_WAY: Final = 1000
# Refusals that say nothing about a claim: they stand for the call, as those of a batch do.
_OF_THE_KEY: Final = (errors.MALFORMED_KEY.code, errors.KEY_REFUSED.code)
# Characters of a line's problem that are shown.
_MAX_PROBLEM: Final = 200

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
    request: CheckClaimRequest | None
    problem: str = ""


def _parts(form: str) -> Callable[[str], list[str]]:
    """A type of option: SYMBOL:TEXT or SYMBOL:TEXT:TEXT, taken apart from the right."""

    def parts(text: str) -> list[str]:
        found = text.rsplit(":", form.count(":"))
        if not found[0] or len(found) != form.count(":") + 1:
            raise click.BadParameter(f"{text!r} is not of the form {form}")
        return found

    return parts


def _repeated(flag: str, form: str, words: str) -> Callable[..., Any]:
    return click.option(flag, type=_parts(form), metavar=form, multiple=True, help=words)


REQUEST_OPTIONS: Final = (
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


def flags_given(flags: Mapping[str, Any]) -> bool:
    """Whether any flag of one request was given."""
    return any(value not in (None, ()) for value in flags.values())


def from_flags(flags: Mapping[str, Any]) -> CheckClaimRequest:
    """The request that the flags make up; with a snapshot if any flag of one was given.

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
        return CheckClaimRequest(**request)
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


def _request(line: bytes) -> CheckClaimRequest:
    """The request in a line.

    Raises:
        ValueError: there is none; says why.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    try:
        return Parse(text, CheckClaimRequest())
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


@dataclass(frozen=True, slots=True)
class Answered:
    """A line with its answer; None if the line holds no request."""

    line: Line
    answer: ClaimAnswer | None


def answered(lines: Iterable[Line], ask: Ask) -> Iterator[Answered]:
    """Every line in order, with its answer if it is a request.

    Only the lines that are under way are held.
    """
    under_way: deque[Line] = deque()

    def requests() -> Iterator[CheckClaimRequest]:
        for line in lines:
            under_way.append(line)
            if line.request is not None:
                yield line.request

    for answer in ask(requests()):
        while (line := under_way.popleft()).request is None:
            yield Answered(line, None)
        yield Answered(line, answer)
    for line in under_way:
        yield Answered(line, None)


def in_process(policy: Policy) -> Ask:
    """The rules in this process, with nothing stored: the words are those of the server."""
    return lambda requests: (claim_answer(_decided(policy, request)) for request in requests)


def _decided(policy: Policy, request: CheckClaimRequest) -> CheckClaimResult:
    """The answer to one request; there is no log, so it has no decision id."""
    data = request.SerializeToString()
    sent, unknown = parse_message(CheckClaimRequest, data, policy.limits.max_request_bytes)
    if isinstance(sent, FieldViolation):
        parsed = unreadable(sent)
    else:
        parsed = parse_request(sent, unknown, explain=sent.explain)
    state = None if parsed.terms is None else StoredState()
    result = CheckClaimResult()
    fill_result(result, "", evaluate(policy, parsed, state))
    return result


def over(client: LiquidationClient, mode: str) -> Ask:
    """A server, asked in one of `MODES`."""
    return lambda requests: MODES[mode](client, requests)


def _unary(
    client: LiquidationClient, requests: Iterable[CheckClaimRequest]
) -> Iterator[ClaimAnswer]:
    for request in requests:
        try:
            yield client.check(request)
        except LiquidationRefused as refused:
            if refused.code in _OF_THE_KEY:
                raise
            yield refused


def _batch(
    client: LiquidationClient, requests: Iterable[CheckClaimRequest]
) -> Iterator[ClaimAnswer]:
    batch: list[CheckClaimRequest] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == _BATCH or size + request.ByteSize() > _BATCH_BYTES):
            yield from client.batch_check_claims(batch)
            batch, size = [], 0
        batch.append(request)
        size += request.ByteSize()
    if batch:
        yield from client.batch_check_claims(batch)


def _stream(
    client: LiquidationClient, requests: Iterable[CheckClaimRequest]
) -> Iterator[ClaimAnswer]:
    """Holds a bounded number of requests under way: gRPC alone would send megabytes ahead."""
    room = Semaphore(_UNDER_WAY)

    def paced() -> Iterator[CheckClaimRequest]:
        for request in requests:
            room.acquire()
            yield request

    try:
        for _, answer in client.stream_check_claims(paced()):
            room.release()
            yield answer
    finally:
        room.release()  # the thread that reads the requests may still wait for room


MODES: Final = {"unary": _unary, "batch": _batch, "stream": _stream}
