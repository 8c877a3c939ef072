"""What a log line says: who called, what was asked for, and all that it was decided from."""

import base64
from enum import Enum
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message

from liquidation.rules.decision import Decision, facts_of
from liquidation.rules.model import (
    Claim,
    ClaimRequest,
    Liquidation,
    Refusal,
    StoredState,
    Terms,
    value,
)
from liquidation.rules.numbers import plain
from liquidation.rules.parse import MAX_ID
from liquidation.rules.policy import RULE_NAMES
from liquidation.rules.record import Record, liquidator_record, terms_record

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
_ACCEPTED: Final = {"outcome": "accepted", "code": 0, "name": "", "message": "", "rule": ""}
# A line of a decision as it begins, with its keys in order: to fill in a copy takes less than to
# let a dictionary grow.
_DECISION: Final = {
    "timestamp": "",
    "level": "",
    "event": "decision",
    "decision_id": "",
    "rpc": "",
    **_NOBODY,
    "latency_us": 0,
    "peer": "",
    "caller": "",
    "trace_id": "",
    **_ACCEPTED,
    "total_notional": "",
    "least_req_ratio": "",
    "margin_ratio": "",
    "maintenance_margin_ratio": "",
    "revision": 0,
    "rules_version": "",
}


@value
class CallInfo:
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


def add_outcome(line: Record, refusal: Refusal | None) -> None:
    """How it ended: `outcome` to `rule`."""
    if refusal is None:
        line.update(_ACCEPTED)
        return
    row = refusal.row
    line["outcome"] = "refused"
    line["code"] = row.code
    line["name"] = row.kind.name
    line["message"] = refusal.message
    line["rule"] = refusal.rule


def add_call(line: Record, call: CallInfo, elapsed_us: int) -> None:
    """Who called, and how long it took: `latency_us` to `trace_id`."""
    line["latency_us"] = elapsed_us
    line["peer"] = call.peer
    line["caller"] = call.caller
    line["trace_id"] = call.trace_id


def add_decision(line: Record, decision: Decision, candidate: Decision | None) -> None:
    """How it was decided: `outcome` to `rules_version`, and what other rules say.

    Those are rules in shadow mode, and `candidate` if it disagrees.
    """
    add_outcome(line, decision.refusal)
    _add_numbers(line, decision)
    _add_opinions(line, decision, candidate)


def _add_numbers(line: Record, decision: Decision) -> None:
    line["total_notional"] = decision.total_notional
    line["least_req_ratio"] = decision.least_req_ratio
    line["margin_ratio"] = decision.margin_ratio
    line["maintenance_margin_ratio"] = decision.maintenance_margin_ratio
    line["revision"] = decision.liquidation_revision
    line["rules_version"] = decision.rules_version


def _add_opinions(line: Record, decision: Decision, candidate: Decision | None) -> None:
    if decision.shadow:
        line["shadow"] = [
            {"rule": refusal.rule, "code": refusal.row.code, "message": refusal.message}
            for refusal in decision.shadow
        ]
    if candidate is not None:
        line["candidate"] = {"rules_version": candidate.rules_version}
        add_outcome(line["candidate"], candidate.refusal)


def decision_line(
    request: ClaimRequest,
    sent: Any,
    decision: Decision,
    candidate: Decision | None,
    *,
    rendered: bool,
) -> tuple[Record, Record]:
    """A `decision` line but for its time, its id and its call, and its request (`add_request`)."""
    terms, given = request.terms, decision.given
    whole = None if given is None else given.whole
    if whole is None or terms is None or terms.limit_price:
        line = _DECISION.copy()
        asked = add_request(line, request, sent, decision, rendered=rendered)
        add_decision(line, decision, candidate)
        return line, asked
    if whole.line is None:
        line = _DECISION.copy()
        _add_numbers(line, decision)
        whole.line = line, _add_terms(line, terms, decision.account_id)
    # What is kept is the same for every claim of this kind, but for who asks.
    kept, kept_terms = whole.line
    line, asked_terms = kept.copy(), kept_terms.copy()
    line["liquidator_id"] = asked_terms["liquidator_id"] = terms.liquidator_id
    if decision.refusal is not None:
        add_outcome(line, decision.refusal)
    if decision.shadow or candidate is not None:
        _add_opinions(line, decision, candidate)
    return line, _with_brought({"terms": asked_terms}, request, decision, rendered=rendered)


def add_request(
    line: Record, request: ClaimRequest, sent: Any, decision: Decision, *, rendered: bool
) -> Record:
    """What was asked for: `liquidation_id` to `extra_liquidation_ratio`.

    Returns what is needed to decide the request again: what was sent, and what was stored then.
    `sent` is the message that came, or its bytes if they are none; of a request that is not well
    formed its texts are told. With `rendered`, snapshots stand in the record as the JSON that is
    kept with them.
    """
    if request.terms is None:
        _add_sent(line, sent, decision.account_id)
        record = sent_record(sent)
    else:
        account_id = decision.account_id
        if not account_id and request.snapshot is not None:
            account_id = request.snapshot.account_id
        record = {"terms": _add_terms(line, request.terms, account_id)}
    return _with_brought(record, request, decision, rendered=rendered)


def _add_terms(line: Record, terms: Terms, account_id: str) -> Record:
    record = terms_record(terms)
    line["liquidation_id"] = terms.liquidation_id
    line["account_id"] = account_id
    line["liquidator_id"] = terms.liquidator_id
    line["ratio_qty_request"] = record.get("ratio_qty_request", "")
    line["extra_liquidation_ratio"] = record["extra_liquidation_ratio"]
    return record


def _with_brought(
    record: Record, request: ClaimRequest, decision: Decision, *, rendered: bool
) -> Record:
    """The record with what came beside the terms, and what the store knew."""
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


def _add_sent(line: Record, sent: Any, account_id: str) -> None:
    """What a request asks for that is not well formed; nothing if it is no message."""
    if isinstance(sent, bytes):
        line.update(_NOBODY)
        return
    if not account_id and sent.HasField("liquidation"):
        account_id = sent.liquidation.account_id
    line["liquidation_id"] = sent.terms.liquidation_id
    line["account_id"] = _clipped(account_id)
    line["liquidator_id"] = _clipped(sent.terms.liquidator_id)
    line["ratio_qty_request"] = _clipped(sent.terms.ratio_qty_request)
    line["extra_liquidation_ratio"] = _clipped(sent.terms.extra_liquidation_ratio)


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
