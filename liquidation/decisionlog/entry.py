"""What a log line says: who called, what was asked for, and all that it was decided from."""

import base64
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message

from liquidation.rules.model import (
    Claim,
    ClaimRequest,
    Decision,
    Liquidation,
    Refusal,
    StoredState,
)
from liquidation.rules.numbers import plain
from liquidation.rules.parse import MAX_ID
from liquidation.rules.policy import RULE_NAMES
from liquidation.rules.record import Record, liquidator_record
from liquidation.rules.snapshot import facts_of

__all__ = [
    "ACCEPTED",
    "CallInfo",
    "Disagreement",
    "claim_fields",
    "claim_head",
    "disagreement",
    "liquidation_head",
    "outcome",
    "request_head",
    "request_record",
    "sent_record",
]

# Bytes up to which a request that is not well formed is logged as it came.
_MAX_LOGGED: Final = 16 * 1024
# Bytes that are logged of a larger one, or of one that is no message at all.
_MAX_HEAD: Final = 256

_NOBODY: Final = {
    "liquidation_id": 0,
    "account_id": "",
    "liquidator_id": "",
    "ratio_qty_request": "",
    "extra_liquidation_ratio": "",
}
ACCEPTED: Final = {"outcome": "accepted", "code": 0, "name": "", "message": "", "rule": ""}


class CallInfo(NamedTuple):
    """Who calls. `started_ns` is a monotonic time, in nanoseconds.

    `caller` is the name of the API key that they called with, "" if keys are off. `refusal` says
    why the key does not allow the call, None if it does.
    """

    rpc: str
    peer: str
    trace_id: str
    started_ns: int
    caller: str = ""
    refusal: Refusal | None = None


class Disagreement(Enum):
    """How a candidate for the rules decided otherwise; values as they are counted."""

    WOULD_REFUSE = "would_refuse"
    WOULD_ACCEPT = "would_accept"
    OTHER_REFUSAL = "other_refusal"


def disagreement(decision: Decision, candidate: Decision | None) -> Disagreement | None:
    """How a candidate disagrees with a decision: in outcome, code, rule or words.

    None if it agrees, if there is none, and if no rule of the policy made the decision: a store
    that did not answer refuses under any rules.
    """
    if candidate is None:
        return None
    decided, other = decision.refusal, candidate.refusal
    if decided is None:
        return None if other is None else Disagreement.WOULD_REFUSE
    if decided.rule not in RULE_NAMES:
        return None
    if other is None:
        return Disagreement.WOULD_ACCEPT
    told = (decided.row.code, decided.rule, decided.message)
    same = told == (other.row.code, other.rule, other.message)
    return None if same else Disagreement.OTHER_REFUSAL


def outcome(refusal: Refusal | None) -> dict[str, Any]:
    """How it ended: `outcome` to `rule` of a line."""
    if refusal is None:
        return ACCEPTED
    row = refusal.row
    return {
        "outcome": "refused",
        "code": row.code,
        "name": row.kind.name,
        "message": refusal.message,
        "rule": refusal.rule,
    }


def request_head(
    request: ClaimRequest, sent: Any, terms: Record | None, account_id: str
) -> dict[str, Any]:
    """What was asked for, and about whom: `liquidation_id` to `extra_liquidation_ratio` of a line.

    `terms` is the record of the request's terms. Of a request that is not well formed it tells the
    texts of `sent`, the message that came; nothing if that is no message.
    """
    asked = request.terms
    if asked is not None and terms is not None:
        if not account_id and request.snapshot is not None:
            account_id = request.snapshot.account_id
        return {
            "liquidation_id": asked.liquidation_id,
            "account_id": account_id,
            "liquidator_id": asked.liquidator_id,
            "ratio_qty_request": terms.get("ratio_qty_request", ""),
            "extra_liquidation_ratio": terms["extra_liquidation_ratio"],
        }
    if isinstance(sent, bytes):
        return _NOBODY
    if not account_id and sent.HasField("liquidation"):
        account_id = sent.liquidation.account_id
    return {
        "liquidation_id": sent.terms.liquidation_id,
        "account_id": _clipped(account_id),
        "liquidator_id": _clipped(sent.terms.liquidator_id),
        "ratio_qty_request": _clipped(sent.terms.ratio_qty_request),
        "extra_liquidation_ratio": _clipped(sent.terms.extra_liquidation_ratio),
    }


def request_record(
    request: ClaimRequest,
    sent: Message | bytes,
    terms: Record | None,
    decision: Decision,
    *,
    rendered: bool,
) -> Record:
    """What is needed to decide the request again: what was sent, and what was stored then.

    With `rendered`, snapshots stand in it as the JSON that is kept with them.
    """
    if terms is None:
        record = sent_record(sent)
    else:
        record = {"terms": terms}
        if request.snapshot is not None:
            record["liquidation"] = _liquidation(request.snapshot, rendered=rendered)
        if request.liquidator is not None:
            record["liquidator"] = liquidator_record(request.liquidator)
    if request.unknown_fields:
        record["unknown_fields"] = list(request.unknown_fields)
    given = decision.given
    if given is not None and given.state is not None:
        record["state"] = _state(given.state, given.liquidation, rendered=rendered)
    return record


def sent_record(sent: Message | bytes) -> Record:
    """A request as it came, bounded in size."""
    if isinstance(sent, bytes):
        return _head(sent)
    data = sent.SerializeToString()
    if len(data) > _MAX_LOGGED:
        return _head(data)
    try:
        return MessageToDict(sent, preserving_proto_field_name=True)
    except (ValueError, SerializeToJsonError):
        # A time that is none has no JSON form.
        return _head(data)


def _head(data: bytes) -> Record:
    return {"bytes": len(data), "head_base64": base64.b64encode(data[:_MAX_HEAD]).decode()}


def _liquidation(liquidation: Liquidation, *, rendered: bool) -> Any:
    facts = facts_of(liquidation)
    if not rendered:
        return facts.record
    if facts.rendered is None:
        facts.rendered = orjson.Fragment(orjson.dumps(facts.record))
    return facts.rendered


def _state(state: StoredState, decided_on: Liquidation | None, *, rendered: bool) -> Any:
    """What the store knew. A stored snapshot that was passed over is left out."""
    stored = state.liquidation
    whole = decided_on is None or decided_on is stored
    if rendered and whole and state.rendered is not None:
        return state.rendered
    record: Record = {
        "closed": state.closed,
        "liquidator_in_liquidation": state.liquidator_in_liquidation,
    }
    if stored is not None and whole:
        record["liquidation"] = _liquidation(stored, rendered=rendered)
    if state.active_claim is not None:
        record["active_claim"] = {
            "claim_id": state.active_claim.claim_id,
            "lease_left_s": plain(state.active_claim.lease_left_s),
        }
    if state.last_completed_revision is not None:
        record["last_completed_revision"] = str(state.last_completed_revision)
    if rendered and whole:
        # A state that is held longer than for one decision is written down once.
        object.__setattr__(state, "rendered", orjson.Fragment(orjson.dumps(record)))
        return state.rendered
    return record


def claim_fields(change: str, claim: Claim | None) -> dict[str, Any]:
    """What a `claim` line says of the claim: what was asked, and how it stands now."""
    if claim is None:
        return {"change": change, "claim_id": "", "fencing_token": 0, "state": ""}
    return {
        "change": change,
        "revision": claim.liquidation_revision,
        "request_id": claim.request_id,
        "claim_id": claim.claim_id,
        "fencing_token": claim.fencing_token,
        "state": claim.state.name,
        "begin_us": claim.begin_us,
        "expire_us": claim.expire_us,
        "end_us": claim.end_us,
        "end_reason": claim.end_reason,
    }


def claim_head(claim: Claim | None, rules_version: str) -> dict[str, Any]:
    """The head of a line on a claim that was renewed or ended: no rule decided on it."""
    fields: dict[str, Any] = dict(_NOBODY)
    if claim is not None:
        ratio = claim.terms.ratio_qty_request
        fields = {
            "liquidation_id": claim.terms.liquidation_id,
            "account_id": claim.account_id,
            "liquidator_id": claim.terms.liquidator_id,
            "ratio_qty_request": "" if ratio is None else plain(ratio),
            "extra_liquidation_ratio": plain(claim.terms.extra_liquidation_ratio),
        }
    numbers = ("total_notional", "least_req_ratio", "margin_ratio", "maintenance_margin_ratio")
    return fields | dict.fromkeys(numbers, "") | {"revision": 0, "rules_version": rules_version}


def liquidation_head(liquidation_id: int, account_id: str, revision: int) -> dict[str, Any]:
    """The head of a line on a liquidation that was opened, closed or refused."""
    return {
        "liquidation_id": liquidation_id,
        "account_id": _clipped(account_id),
        "revision": revision,
    }


def _clipped(text: str) -> str:
    """A text that may be anything of any length, cut to the length of a longest id."""
    return text[:MAX_ID]
