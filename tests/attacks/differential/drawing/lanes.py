"""Lanes of decisions: a world is made, then asked by each way there is."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from google.protobuf.message import Message

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2
from tests.attacks.differential.calls import Call, Fill, Lane, path_of
from tests.attacks.differential.drawing.checks import add_time, check_request
from tests.attacks.differential.drawing.malformed import spoiled
from tests.attacks.oracle import sidecar
from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.drawing import chance
from tests.attacks.oracle.worlds import Subject, drawn_world

_BEGIN = "ClaimService.BeginClaim"


def call(name: str, message: Message, *fills: Fill, **more: Any) -> Call:
    """A call of `Service.Method` with one message."""
    return Call(path_of(name), (message.SerializeToString(),), fills, **more)


def checks_lane(random: Random, number: int, in_force: InForce, requests: int) -> Lane:
    """A lane that makes a few accounts and asks so many requests about them."""
    steps: list[list[Call]] = []
    world = drawn_world(random, in_force, number, random.randint(2, 4))
    # A liquidator of this lane alone.
    world.claimant = f"claimant-{number}"
    for subject in world.subjects:
        _make(random, subject, steps)
    drawn = [check_request(random, world).SerializeToString() for _ in range(requests)]
    steps += asked(random, drawn)
    begins = [sidecar.begin_of(check_request(random, world), f"{number}-b-{i}") for i in range(4)]
    steps += [[call(_BEGIN, each)] for each in begins]
    return Lane(steps)


def _make(random: Random, subject: Subject, steps: list[list[Call]]) -> None:
    """First claims on the account, each with a snapshot of its own, then what is stored."""
    places = len(steps)
    if subject.completed_revision is not None:
        fills = (Fill("claim_id", places), Fill("fencing_token", places))
        complete = claim_service_pb2.CompleteClaimRequest(claim_id="none")
        steps.append([call(_BEGIN, plain_begin(subject, subject.completed_revision, "completed"))])
        steps.append([call("ClaimService.CompleteClaim", complete, *fills)])
    if subject.is_claimed:
        steps.append([call(_BEGIN, plain_begin(subject, subject.revision + 2, "active"))])
    if subject.stored is None:
        return
    add_time(random, subject.stored)
    put = liquidation_service_pb2.PutLiquidationRequest(liquidation=subject.stored)
    steps.append([call("LiquidationService.PutLiquidation", put)])
    if subject.closed:
        close = liquidation_service_pb2.CloseLiquidationRequest(
            liquidation_id=subject.liquidation_id
        )
        steps.append([call("LiquidationService.CloseLiquidation", close)])


def plain_begin(subject: Subject, revision: int, request_id: str, **more: Any) -> Any:
    """A BeginClaim on a snapshot of its own, which no rule refuses for its numbers."""
    account_id = subject.account_id
    begin = sidecar.plain_begin(
        account_id,
        subject.liquidation_id + 1,
        max(1, revision),
        f"{request_id}-{account_id}",
        f"other-{account_id}",
    )
    for name, value in more.items():
        begin.ClearField(name)
        begin.MergeFrom(type(begin)(**{name: value}))
    return begin


def asked(random: Random, requests: Sequence[bytes]) -> list[list[Call]]:
    """Two steps that ask all requests: by calls of their own, in batches and in streams."""
    return [list(_asked(random, requests))] if requests else []


def _asked(random: Random, requests: Sequence[bytes]) -> Iterator[Call]:
    rest = list(requests)
    while rest:
        way = random.randrange(8)
        size = 1 if way < 5 else random.choice((1, 2, 5, 20, 33, 80))
        chosen, rest = rest[:size], rest[size:]
        if way < 5:
            data = chosen[0]
            if chance(random, 40):
                data = spoiled(random, data)
            yield Call(path_of("LiquidationRulesService.CheckClaim"), (data,))
        elif way < 7:
            yield _batch(random, chosen)
        else:
            yield _stream(random, chosen)


def _batch(random: Random, requests: Sequence[bytes]) -> Call:
    """Put together as bytes: so items of it may be no messages at all."""
    data = b"".join(_item(1, each) for each in requests)
    if chance(random, 25):
        data += random.choice((b"\xf8\x7f\x01", b"\x0a\x01\xff", b"\x0a\x00", b"\xff"))
    path = path_of("LiquidationRulesService.BatchCheckClaims")
    return Call(path, (data,), requests=len(requests))


def _stream(random: Random, requests: Sequence[bytes]) -> Call:
    items = []
    for index, each in enumerate(requests):
        correlation = random.choice((f"c-{index}", "", "same", "ü" * 20)).encode()
        item = (_item(1, correlation) if correlation else b"") + _item(2, each)
        if chance(random, 40):
            item = spoiled(random, item)
        items.append(item)
    path = path_of("LiquidationRulesService.StreamCheckClaims")
    return Call(path, tuple(items), requests=len(items))


def _item(number: int, data: bytes) -> bytes:
    """A field of a message, as bytes."""
    length, size = bytearray(), len(data)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + data
