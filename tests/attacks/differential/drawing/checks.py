"""Requests for a decision: as the oracle draws them, and more that no client should send."""

from random import Random

from google.protobuf.message import Message

from liquidation.v1 import rules_service_pb2
from tests.attacks.differential.calls import Json
from tests.attacks.differential.drawing.malformed import make_odd, with_unknown_field
from tests.attacks.oracle.cases import drawn_case
from tests.attacks.oracle.drawing import chance
from tests.attacks.oracle.worlds import World


def check_request(random: Random, world: World) -> Message:
    """A CheckClaimRequest, of whatever kind."""
    case = drawn_case(random, world)
    request = case.request
    if "liquidation" in request:
        add_time(random, request["liquidation"])
    if chance(random, 12):
        make_odd(random, request, world.unknown_id)
    message = rules_service_pb2.CheckClaimRequest(**request)
    return message if case.unknown_field_in is None else with_unknown_field(random, message)


def add_time(random: Random, snapshot: Json) -> None:
    """Says of some snapshots when they were taken, which no rule looks at."""
    if chance(random, 4):
        snapshot["snapshot_time"] = {"seconds": random.choice((1677618623, 0, 1)), "nanos": 5000}
