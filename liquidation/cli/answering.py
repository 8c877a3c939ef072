"""Who answers: a server, in one of three ways, or the rules in this process."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Semaphore
from typing import Final

from liquidation.api.check import fill_result
from liquidation.api.messages import parse_message, unreadable
from liquidation.cli.requests import Line
from liquidation.client import ClaimAnswer, LiquidationClient, LiquidationRefused
from liquidation.client.refused import claim_answer
from liquidation.rules import errors
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import FieldViolation, StoredState
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import Policy
from liquidation.v1.rules_service_pb2 import CheckClaimRequest, CheckClaimResult

__all__ = ["MODES", "Answered", "Ask", "answered", "in_process", "over"]

# Answers requests in order, as it reads them.
Ask = Callable[[Iterable[CheckClaimRequest]], Iterable[ClaimAnswer]]

# What one batch holds at most; a server may take as little as its own limit of bytes.
_BATCH: Final = 500
_BATCH_BYTES: Final = 1024 * 1024
# Requests of a stream that may wait for their answers.
_UNDER_WAY: Final = 1000
# Refusals that say nothing about a claim: they stand for the call, as those of a batch do.
_OF_THE_KEY: Final = (errors.MALFORMED_KEY.code, errors.KEY_REFUSED.code)


@dataclass(frozen=True, slots=True)
class Answered:
    """A line with its answer; None where the line holds no request."""

    line: Line
    answer: ClaimAnswer | None


def answered(lines: Iterable[Line], ask: Ask) -> Iterator[Answered]:
    """Every line in order, with its answer where it is a request.

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
