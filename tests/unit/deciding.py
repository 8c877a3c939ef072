"""From a request as protobuf JSON to a decision, the way a call takes without its server."""

from typing import Any

from google.protobuf.message import Message

from liquidation.api.messages import unknown_fields
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import ClaimRequest, Liquidation, StoredState
from liquidation.rules.parse import parse_liquidation, parse_request
from liquidation.rules.policy import Policy
from tests import samples

__all__ = ["add_unknown_field", "decision_on", "request_of", "stored"]

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


def decision_on(
    request: dict[str, Any],
    *,
    policy: Policy | None = None,
    state: StoredState | None = None,
    explain: bool = False,
    unknown_field_in: str | None = None,
) -> Decision:
    """The decision on a request, with nothing stored unless `state` says otherwise."""
    message = samples.check(request)
    if unknown_field_in is not None:
        add_unknown_field(message, unknown_field_in)
    parsed = parse_request(message, unknown_fields(message), explain=explain)
    if parsed.terms is None:
        state = None
    elif state is None:
        state = StoredState()
    return evaluate(policy or Policy(), parsed, state)


def request_of(request: dict[str, Any], unknown_fields: tuple[str, ...] = ()) -> ClaimRequest:
    """A request as it is parsed."""
    return parse_request(samples.check(request), unknown_fields)


def stored(liquidation: dict[str, Any]) -> Liquidation:
    """The value of a liquidation that is well formed, as a store gives it."""
    parsed = parse_liquidation(samples.snapshot(liquidation), "liquidation")
    assert isinstance(parsed, Liquidation), parsed
    return parsed
