"""From a request as protobuf JSON to a verdict, the way a call takes without its server."""

from typing import Any

from google.protobuf.message import Message

from liquidation.api import wire
from liquidation.rules.evaluate import assemble, decide
from liquidation.rules.intake import Intake, read_liquidation, read_request
from liquidation.rules.model import Decision, Liquidation, StoredState
from liquidation.rules.policy import Policy
from tests import samples

__all__ = ["add_unknown_field", "intake_of", "stored", "verdict_on"]

UNKNOWN_FIELD = 625  # no message of the API has a field of this number
_UNKNOWN_VARINT = b"\x88\x27\x01"  # field 625 = 1


def add_unknown_field(message: Message, path: str = "") -> None:
    """Adds a field that the service does not know to the part of `message` at `path`."""
    part: Any = message
    for name in filter(None, path.split(".")):
        field, _, index = name.partition("[")
        part = getattr(part, field)
        part = part[int(index.rstrip("]"))] if index else part
    part.MergeFromString(_UNKNOWN_VARINT)


def verdict_on(
    request: dict[str, Any],
    *,
    policy: Policy | None = None,
    state: StoredState | None = None,
    explain: bool = False,
    unknown_field_in: str | None = None,
) -> Decision:
    """The verdict on a request, with nothing stored unless `state` says otherwise."""
    message = samples.check(request)
    if unknown_field_in is not None:
        add_unknown_field(message, unknown_field_in)
    sent = wire.sent(message)
    assert sent.request is not None
    intake = read_request(sent.request)
    if intake.terms is None:
        state = None
    elif state is None:
        state = StoredState()
    case = assemble(policy or Policy(), intake, state, sent.unknown_fields)
    return decide(case, explain=explain)


def intake_of(request: dict[str, Any]) -> Intake:
    """A request as it is read."""
    sent = wire.sent(samples.check(request))
    assert sent.request is not None
    return read_request(sent.request)


def stored(liquidation: dict[str, Any]) -> Liquidation:
    """The value of a liquidation that is well formed, as a store gives it."""
    read = read_liquidation(wire.snapshot_text(samples.snapshot(liquidation)), "liquidation")
    assert isinstance(read, Liquidation), read
    return read
