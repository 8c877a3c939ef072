"""What went wrong on our side, as refusals: told plainly to the caller, and in full in the log."""

from typing import Final

from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import errors
from liquidation.rules.checks import RETRY_AFTER_S, wrong_format
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate_candidate
from liquidation.rules.model import FieldViolation, Refusal
from liquidation.rules.parse import FieldViolations
from liquidation.rules.policy import Policy
from liquidation.store.base import StoreUnavailableError

# Refusals that stand for no rule.
STORE_NOT_REACHED: Final = Refusal(errors.STORE_NOT_REACHED, retry_after_s=RETRY_AFTER_S)
FAULT: Final = Refusal(errors.UNKNOWN_ERROR)


class RefusedError(Exception):
    """A call is refused; carries the refusal that is the answer to it.

    `logged` tells that its line is written already.
    """

    def __init__(self, refusal: Refusal, *, logged: bool = False) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.logged = logged


def refused_field(field: str, description: str) -> RefusedError:
    """The -1005 that says what is wrong with one field."""
    return RefusedError(wrong_format(FieldViolation(field, description)))


def require_id(text: str, field: str, *others: FieldViolation) -> None:
    """Refuses a text that is no id, with what else is wrong with the call.

    Raises:
        RefusedError: -1005.
    """
    violations = FieldViolations()
    violations.identifier(text, field)
    if found := (*violations.found, *others):
        raise RefusedError(wrong_format(*found))


def refusal_of(error: BaseException, log: DecisionLog, *decision_ids: str) -> Refusal:
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
    decision: Decision, candidate: Policy | None, log: DecisionLog, decision_id: str
) -> Decision | None:
    """What the candidate says of what was decided; None if there is none, or no rule decided.

    Nothing is decided by a candidate, so a fault in asking it is told, and changes nothing.
    """
    if candidate is None or decision.given is None:
        return None
    try:
        return evaluate_candidate(decision, candidate)
    except Exception as error:  # noqa: BLE001 - as said above
        log.fault(decision_id, error)
        return None
