"""What a log line says of a request: who asked for what, and all that it was decided from."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from liquidation.rules.intake import MAX_ID, Intake
from liquidation.rules.model import Claim, Decision, Liquidation, RuleInput, StoredState
from liquidation.rules.numbers import plain
from liquidation.rules.policy import RULE_NAMES
from liquidation.rules.record import Record, liquidation_record, liquidator_record, terms_record
from liquidation.rules.texts import Sent

__all__ = [
    "Call",
    "Disagreement",
    "change_fields",
    "claim_fields",
    "decision_fields",
    "disagreement",
    "liquidation_fields",
    "request_record",
]

_NOBODY: Final = {
    "liquidation_id": 0,
    "account_id": "",
    "liquidator_id": "",
    "ratio_qty_request": "",
    "extra_liquidation_ratio": "",
}


class Call(NamedTuple):
    """Who calls. `started_ns` is a monotonic time; `abandoned` tells whether the caller is gone.

    `caller` is the name of the API key that they called with, "" where keys are off.
    """

    rpc: str
    peer: str
    trace_id: str
    started_ns: int
    abandoned: Callable[[], bool] = lambda: False
    caller: str = ""

    def fields(self, now_ns: int) -> dict[str, Any]:
        """The call's part of a line that is written at `now_ns`, a monotonic time."""
        return {
            "latency_us": (now_ns - self.started_ns) // 1000,
            "peer": self.peer,
            "caller": self.caller,
            "trace_id": self.trace_id,
        }


class Disagreement(Enum):
    """How a candidate for the rules decided otherwise; values as they are counted."""

    WOULD_REFUSE = "would_refuse"
    WOULD_ACCEPT = "would_accept"
    OTHER_REFUSAL = "other_refusal"


def disagreement(verdict: Decision, candidate: Decision | None) -> Disagreement | None:
    """How a candidate disagrees with a verdict: in outcome, code, rule or words.

    None where it agrees, where there is none, and where no rule of the policy gave the verdict: a
    store that did not answer refuses under any rules.
    """
    if candidate is None:
        return None
    decided, other = verdict.refusal, candidate.refusal
    if decided is None:
        return None if other is None else Disagreement.WOULD_REFUSE
    if decided.rule not in RULE_NAMES:
        return None
    if other is None:
        return Disagreement.WOULD_ACCEPT
    told = (decided.row.code, decided.rule, decided.message)
    same = told == (other.row.code, other.rule, other.message)
    return None if same else Disagreement.OTHER_REFUSAL


def decision_fields(
    decision_id: str, sent: Sent, intake: Intake, verdict: Decision, call: Call, now_ns: int
) -> dict[str, Any]:
    """The head of a decision's line, which is written at `now_ns`, a monotonic time.

    Of a request that could not be read it tells the texts as they were sent.
    """
    return {
        "decision_id": decision_id,
        "rpc": call.rpc,
        **_who(sent, intake, verdict),
        **call.fields(now_ns),
    }


def _who(sent: Sent, intake: Intake, verdict: Decision) -> dict[str, Any]:
    if sent.request is None:
        return _NOBODY
    text, terms, snapshot = sent.request.terms, intake.terms, sent.request.snapshot
    account_id = verdict.account_id or (snapshot.fields.account_id if snapshot is not None else "")
    if terms is not None:
        asked = terms.ratio_qty_request
        return {
            "liquidation_id": terms.liquidation_id,
            "account_id": account_id,
            "liquidator_id": terms.liquidator_id,
            "ratio_qty_request": "" if asked is None else plain(asked),
            "extra_liquidation_ratio": plain(terms.extra_liquidation_ratio),
        }
    return {
        "liquidation_id": text.liquidation_id,
        "account_id": _clipped(account_id),
        "liquidator_id": _clipped(text.liquidator_id),
        "ratio_qty_request": _clipped(text.ratio_qty_request),
        "extra_liquidation_ratio": _clipped(text.extra_liquidation_ratio),
    }


def request_record(sent: Sent, intake: Intake, case: RuleInput | None) -> Record:
    """What is needed to decide the request again: what was sent, and what was stored then."""
    terms = intake.terms
    if terms is None:
        record = sent.as_record()
    else:
        record = {"terms": terms_record(terms)}
        if intake.snapshot is not None:
            record["liquidation"] = liquidation_record(intake.snapshot)
        if intake.liquidator is not None:
            record["liquidator"] = liquidator_record(intake.liquidator)
    if sent.unknown_fields:
        record["unknown_fields"] = list(sent.unknown_fields)
    if case is not None and case.state is not None:
        record["state"] = _state_record(case.state, case.liquidation)
    return record


def _state_record(state: StoredState, decided_on: Liquidation | None) -> Record:
    """What the store knew. A stored snapshot that was passed over is left out."""
    record: Record = {
        "closed": state.closed,
        "liquidator_in_liquidation": state.liquidator_in_liquidation,
    }
    stored = state.liquidation
    if stored is not None and (decided_on is None or decided_on is stored):
        record["liquidation"] = liquidation_record(stored)
    if state.active_claim is not None:
        record["active_claim"] = {
            "claim_id": state.active_claim.claim_id,
            "lease_left_s": plain(state.active_claim.lease_left_s),
        }
    if state.last_completed_revision is not None:
        record["last_completed_revision"] = str(state.last_completed_revision)
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


def change_fields(
    decision_id: str, call: Call, claim: Claim | None, rules_version: str
) -> dict[str, Any]:
    """The head of a line on a claim that was renewed or ended: no rule was asked for it."""
    fields = {"decision_id": decision_id, "rpc": call.rpc, **_NOBODY}
    if claim is not None:
        ratio = claim.terms.ratio_qty_request
        fields |= {
            "liquidation_id": claim.terms.liquidation_id,
            "account_id": claim.account_id,
            "liquidator_id": claim.terms.liquidator_id,
            "ratio_qty_request": "" if ratio is None else plain(ratio),
            "extra_liquidation_ratio": plain(claim.terms.extra_liquidation_ratio),
        }
    numbers = ("total_notional", "least_req_ratio", "margin_ratio", "maintenance_margin_ratio")
    return fields | dict.fromkeys(numbers, "") | {"revision": 0, "rules_version": rules_version}


def liquidation_fields(
    decision_id: str, rpc: str, liquidation_id: int, account_id: str, revision: int
) -> dict[str, Any]:
    """The head of a line on a liquidation that was opened, closed or refused."""
    return {
        "decision_id": decision_id,
        "rpc": rpc,
        "liquidation_id": liquidation_id,
        "account_id": _clipped(account_id),
        "revision": revision,
    }


def _clipped(text: str) -> str:
    """A text that may be anything of any length, cut to the length of a longest id."""
    return text[:MAX_ID]
