"""What handlers share: how errors become refusals, and calls that are no decision.

Such a call takes one message and gives one, or a refusal. Its handler is a generator: what it has
to wait for (a commit, a database) it asks with `ask`, and large work goes on in chunks, so that
nobody waits for more than one.
"""

import base64
import binascii
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from liquidation.api.admission import TOO_MANY, Admission
from liquidation.api.messages import parse_message
from liquidation.api.status import refuse
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import errors
from liquidation.rules.checks import RETRY_AFTER_S, unknown_parameter, wrong_format
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate_candidate
from liquidation.rules.model import FieldViolation, Refusal
from liquidation.rules.numbers import MAX_INT64
from liquidation.rules.parse import FieldViolations
from liquidation.rules.policy import MAX_PAGE, Policy
from liquidation.store.base import Done, StoreUnavailableError
from liquidation.transport.base import Call, Step, Unary

_M = TypeVar("_M", bound=Message)
_R = TypeVar("_R")
_T = TypeVar("_T")

# Work in chunks, and what comes of it.
Chunks = Generator[Step, None, _T]
# What a handler does with its request: it gives the answer, or raises RefusedError.
Behaviour = Callable[[_M, CallInfo, Call], Chunks[Message] | Message]

# Refusals that stand for no rule.
STORE_NOT_REACHED: Final = Refusal(errors.STORE_NOT_REACHED, retry_after_s=RETRY_AFTER_S)
FAULT: Final = Refusal(errors.UNKNOWN_ERROR)
_DEFAULT_PAGE: Final = 100
_INT64_DIGITS: Final = 19
# Positions of snapshots that are read or rendered in one chunk; some 1.5 ms.
_CHUNK: Final = 500


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


@dataclass(frozen=True, slots=True)
class _Method(Generic[_M]):
    rpc: str
    request: type[_M]
    behave: Behaviour[_M]
    on_refused: Callable[[_M, Refusal, str, CallInfo], None]
    also_needs: Callable[[_M], Permission | None]


@dataclass(frozen=True, slots=True)
class UnaryCalls:
    """Makes the handlers of one service's calls that are no decision.

    `permission` is what a key needs for each of them.
    """

    log: DecisionLog
    admission: Admission
    permission: Permission
    new_id: Callable[[], str]

    def unary(
        self,
        request: type[_M],
        behave: Behaviour[_M],
        on_refused: Callable[[_M, Refusal, str, CallInfo], None] = lambda *_: None,
        also_needs: Callable[[_M], Permission | None] = lambda _: None,
    ) -> Unary:
        """A handler of the RPC of that `request`; what `behave` raises becomes the refusal.

        `on_refused` writes the line of a call that was refused, under the id that the caller gets.
        `also_needs` names the further permission that some requests need.
        """
        rpc = request.DESCRIPTOR.name.removesuffix("Request")
        method = _Method(rpc, request, behave, on_refused, also_needs)

        def handle(call: Call, data: bytes) -> Iterator[Step]:
            info = self.admission.admit(rpc, self.permission, call)
            return self._run(method, call, data, info)

        return Unary(handle)

    def _run(self, method: _Method[_M], call: Call, data: bytes, info: CallInfo) -> Iterator[Step]:
        decision_id = self.new_id()
        request = method.request()
        logged = False
        try:
            with self.admission.limiter.place() as admitted:
                refusal = self.admission.refusal(call, info, full=not admitted)
                if refusal is not None:
                    raise RefusedError(refusal)
                largest = self.admission.limits().max_request_bytes
                parsed, unknown = parse_message(method.request, data, largest)
                if isinstance(parsed, FieldViolation):
                    raise RefusedError(wrong_format(parsed))
                request = parsed
                if unknown:
                    raise RefusedError(unknown_parameter(unknown))
                further = method.also_needs(request)
                if further and (refusal := self.admission.lacks(call, further)):
                    raise RefusedError(refusal)
                answer = method.behave(request, info, call)
                if not isinstance(answer, Message):
                    answer = yield from answer
                reply(self.admission, call, info, answer)
                return
        except RefusedError as refused:
            refusal, logged = refused.refusal, refused.logged
        except Exception as error:  # noqa: BLE001 - the one error boundary, told in full
            refusal = refusal_of(error, self.log, decision_id)
        if not logged:
            method.on_refused(request, refusal, decision_id, info)
        self.admission.answered(info, refusal.row.code)
        # A failure of ours is in the log under this id; other refusals say it all themselves.
        failed = refusal in (FAULT, STORE_NOT_REACHED)
        refuse(call, refusal, decision_id if failed else "")


def reply(admission: Admission, call: Call, info: CallInfo, answer: Message) -> None:
    """Answers a unary call, or refuses it if the answer would take too much memory."""
    if call.reply(answer.SerializeToString()):
        admission.answered(info, 0)
    else:
        refuse(call, TOO_MANY)
        admission.answered(info, TOO_MANY.row.code)


class _Waiter:
    """Takes what a store tells, and lets the work go on that waits for it."""

    __slots__ = ("_answering", "_call", "_starting", "at_once", "outcome")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._answering = get_ident()
        self._starting = True
        self.at_once = False
        self.outcome: Any = None

    def done(self, outcome: Any) -> None:
        self.outcome = outcome
        if self._starting and get_ident() == self._answering:
            self.at_once = True
        else:
            self._call.resume()

    def started(self) -> bool:
        """Whether the outcome was told before the store returned."""
        self._starting = False
        return self.at_once


def ask(call: Call, start: Callable[[Done[_R]], object]) -> Chunks[_R]:
    """What a store tells to the `done` that `start` is given; the work of `call` waits for it.

    Raises:
        Exception: what the store told in place of a result.
    """
    waiter = _Waiter(call)
    start(waiter.done)
    if not waiter.started():
        yield Step.WAIT
    outcome: _R | Exception = waiter.outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def chunked(
    items: Iterator[_T], each: Callable[[_T], object], size: Callable[[_T], int]
) -> Chunks[None]:
    """Does `each` with all `items`, in chunks; `size` is how many positions one has."""
    done = 0
    for item in items:
        each(item)
        done += 1 + size(item)
        if done >= _CHUNK:
            done = 0
            yield Step.MORE


def page_rows(size: int) -> int:
    """How many rows a page has if `size` are asked for; 0 asks for 100.

    Raises:
        RefusedError: -1005 for a size that is negative or above 1000.
    """
    if not 0 <= size <= MAX_PAGE:
        raise refused_field("page_size", f"must be 0 to {MAX_PAGE}")
    return size or _DEFAULT_PAGE


def page_token(word: str, key: int | None) -> str:
    """The token of the page that begins `word` ("after" or "below") a key; "" for None."""
    return "" if key is None else base64.urlsafe_b64encode(f"{word}:{key}".encode()).decode()


def key_of(token: str, word: str) -> int:
    """The key in a page token; 0 for the first page.

    Raises:
        RefusedError: -1005, if `page_token` did not make it.
    """
    if not token:
        return 0
    try:
        said, _, key = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        said = key = ""
    digits = key.isascii() and key.isdigit() and len(key) <= _INT64_DIGITS
    number = int(key) if digits else MAX_INT64 + 1
    if said != word or number > MAX_INT64:
        raise refused_field("page_token", "is not a token that this service gave")
    return number
