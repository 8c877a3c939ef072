"""What went wrong on our side, as refusals: told plainly to the caller, and in full in the log."""

from typing import Final

from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import errors
from liquidation.rules.checks import RETRY_AFTER_S
from liquidation.rules.evaluate import evaluate_candidate
from liquidation.rules.model import Decision, Refusal, RuleInput
from liquidation.rules.policy import Policy
from liquidation.store.base import StoreUnavailableError

__all__ = ["ABANDONED", "FAULT", "STORE_NOT_REACHED", "compared", "refusal_of"]

# Refusals that stand for no rule.
STORE_NOT_REACHED: Final = Refusal(errors.STORE_NOT_REACHED, retry_after_s=RETRY_AFTER_S)
ABANDONED: Final = Refusal(errors.CALL_ABANDONED)
FAULT: Final = Refusal(errors.UNKNOWN_ERROR)


def refusal_of(error: Exception, log: DecisionLog, *decision_ids: str) -> Refusal:
    """The refusal that stands for `error`, once the log has what there is to know about it.

    A store that does not answer is -1011, and told in one line however many decisions it stopped.
    Everything else is a fault of ours, -1000, and told with its traceback under each decision's id.
    """
    if isinstance(error, StoreUnavailableError):
        log.store_failed(str(error), "store_failed", decision_id=decision_ids[0])
        return STORE_NOT_REACHED
    for decision_id in decision_ids:
        log.fault(decision_id, error)
    return FAULT


def compared(
    case: RuleInput | None, candidate: Policy | None, log: DecisionLog, decision_id: str
) -> Decision | None:
    """What the candidate says of the case; None where there is none of either.

    Nothing is decided by a candidate, so a fault in asking it is told, and changes nothing.
    """
    if case is None or candidate is None:
        return None
    try:
        return evaluate_candidate(case, candidate)
    except Exception as error:  # noqa: BLE001 - as said above
        log.fault(decision_id, error)
        return None
