"""Lanes of liquidations: stored, refreshed, listed in pages, closed."""

from random import Random
from typing import Final

from google.protobuf.message import Message

from liquidation.v1 import liquidation_service_pb2 as pb
from tests.attacks.differential.calls import Call, Fill, Json, Lane
from tests.attacks.differential.drawing.checks import add_time
from tests.attacks.differential.drawing.lanes import call
from tests.attacks.differential.drawing.malformed import (
    break_one,
    spoiled,
    with_unknown_field,
)
from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.drawing import chance
from tests.attacks.oracle.snapshots import drawn_snapshot

_PAGE_SIZES: Final = (0, 1, 2, 3, 1000, 1001, -1)
_TOKENS: Final = ("x", "YWZ0ZXI6MQ==", "YmVsb3c6MQ==", "YWZ0ZXI6", "ü", "YWZ0ZXI6LTE=")


def liquidations_lane(random: Random, number: int, in_force: InForce, calls: int) -> Lane:
    """A lane of so many calls about a few accounts, one after the other."""
    made: list[Call] = []
    pages: list[int] = []
    while len(made) < calls:
        kind = random.randrange(10)
        if kind < 4:
            put = pb.PutLiquidationRequest(**_put(random, number, in_force))
            _add(random, made, "PutLiquidation", put)
        elif kind < 6:
            puts = [_put(random, number, in_force) for _ in range(random.choice((0, 1, 2, 7)))]
            _add(
                random, made, "BatchPutLiquidations", pb.BatchPutLiquidationsRequest(requests=puts)
            )
        elif kind == 6:
            get = pb.GetLiquidationRequest(liquidation_id=_id(random, number))
            _add(random, made, "GetLiquidation", get)
        elif kind == 7:
            close = pb.CloseLiquidationRequest(liquidation_id=_id(random, number))
            _add(random, made, "CloseLiquidation", close)
        else:
            made.append(_page(random, number, pages))
            pages.append(len(made) - 1)
    return Lane([[each] for each in made])


def _add(random: Random, made: list[Call], name: str, message: Message) -> None:
    if chance(random, 30):
        message = with_unknown_field(random, message)
    one = call(f"LiquidationService.{name}", message)
    if chance(random, 60):
        one = Call(one.path, (spoiled(random, one.messages[0]),))
    made.append(one)


def _id(random: Random, number: int) -> int:
    if chance(random, 12):
        return random.choice((0, -1, 2**63 - 1))
    return number * 1000 + random.randrange(8)


def _put(random: Random, number: int, in_force: InForce) -> Json:
    place = random.randrange(8)
    account_id = f"account-{number}-{place % 3 if random.randrange(10) else 9}"
    ids = number * 1000 + place, account_id
    drawn = drawn_snapshot(random, in_force, *ids, random.randint(1, 4))
    add_time(random, drawn)
    request: Json = {"terms": {}, "liquidation": drawn}
    if chance(random, 8):
        break_one(random, request, number * 1000 + 999)
    return {} if chance(random, 30) else {"liquidation": request["liquidation"]}


def _page(random: Random, number: int, pages: list[int]) -> Call:
    account_id = f"account-{number}-{random.randrange(3)}"
    message = pb.ListLiquidationsRequest(account_id=account_id)
    message.page_size = random.choice(_PAGE_SIZES)
    fills: tuple[Fill, ...] = ()
    if pages and random.randrange(2):
        fills = (Fill("page_token", pages[-1], int(chance(random, 6))),)
    elif chance(random, 4):
        message.page_token = random.choice(_TOKENS)
    return call("LiquidationService.ListLiquidations", message, *fills)
