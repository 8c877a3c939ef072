"""What handlers of calls that are no decision share: one message in, one message or refusal out.

Such a handler is a generator: what it has to wait for (a commit, a database) it asks with `ask`,
and large work goes on in chunks, so that nobody waits for more than one.
"""

from collections.abc import Callable, Generator, Iterator
from threading import get_ident
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from liquidation.api.admission import TOO_MANY, Admission
from liquidation.api.failures import (
    FAULT,
    STORE_NOT_REACHED,
    RefusedError,
    refusal_of,
)
from liquidation.api.messages import parse_message
from liquidation.api.status import refuse
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.checks import unknown_parameter, wrong_format
from liquidation.rules.model import FieldViolation, Refusal
from liquidation.store.base import Done
from liquidation.transport.base import Call, Step, Unary

_M = TypeVar("_M", bound=Message)
_R = TypeVar("_R")
_T = TypeVar("_T")

# Work in chunks, and what comes of it.
Chunks = Generator[Step, None, _T]
# What a handler does with its request: it gives the answer, or raises RefusedError.
Behaviour = Callable[[_M, CallInfo, Call], Chunks[Message] | Message]

# Positions of snapshots that are read or rendered in one chunk; some 1.5 ms.
_CHUNK: Final = 500


class PlainCalls:
    """Makes the handlers of one service's calls that are no decision."""

    def __init__(
        self,
        log: DecisionLog,
        admission: Admission,
        permission: Permission,
        new_id: Callable[[], str],
    ) -> None:
        """`permission` is what a key needs for each of the calls."""
        self.log = log
        self.admission = admission
        self.permission = permission
        self.new_id = new_id

    def unary(
        self,
        rpc: str,
        message_type: type[_M],
        behave: Behaviour[_M],
        on_refused: Callable[[_M, Refusal, str, CallInfo], None] = lambda *_: None,
        also_needs: Callable[[_M], Permission | None] = lambda _: None,
    ) -> Unary:
        """A handler that runs `behave`; what that raises becomes the refusal.

        `on_refused` writes the line of a call that was refused, under the id that the caller gets.
        `also_needs` names the further permission that some requests need.
        """
        return Unary(_PlainCall(self, rpc, message_type, behave, on_refused, also_needs).handle)


class _PlainCall(Generic[_M]):
    def __init__(
        self,
        calls: PlainCalls,
        rpc: str,
        message_type: type[_M],
        behave: Behaviour[_M],
        on_refused: Callable[[_M, Refusal, str, CallInfo], None],
        also_needs: Callable[[_M], Permission | None],
    ) -> None:
        self._calls = calls
        self._rpc = rpc
        self._type = message_type
        self._behave = behave
        self._on_refused = on_refused
        self._also_needs = also_needs

    def handle(self, call: Call, data: bytes) -> Iterator[Step]:
        info = self._calls.admission.admit(self._rpc, self._calls.permission, call)
        return self._run(call, data, info)

    def _run(self, call: Call, data: bytes, info: CallInfo) -> Iterator[Step]:
        decision_id = self._calls.new_id()
        request = self._type()
        logged = False
        admitted = self._calls.admission.limiter.enter()
        try:
            refusal = self._calls.admission.refusal(call, info, full=not admitted)
            if refusal is not None:
                raise RefusedError(refusal)
            request, unknown = self._parse(data)
            if unknown:
                raise RefusedError(unknown_parameter(unknown))
            self._permit(call, request)
            answer = self._behave(request, info, call)
            if not isinstance(answer, Message):
                answer = yield from answer
            self._reply(call, info, answer.SerializeToString())
            return
        except RefusedError as refused:
            refusal, logged = refused.refusal, refused.logged
        except Exception as error:  # noqa: BLE001 - the one error boundary, told in full
            refusal = refusal_of(error, self._calls.log, decision_id)
        finally:
            if admitted:
                self._calls.admission.limiter.leave()
        if not logged:
            self._on_refused(request, refusal, decision_id, info)
        self._refuse(call, info, refusal, decision_id)

    def _parse(self, data: bytes) -> tuple[_M, tuple[str, ...]]:
        largest = self._calls.admission.limits().max_request_bytes
        request, unknown = parse_message(self._type, data, largest)
        if isinstance(request, FieldViolation):
            raise RefusedError(wrong_format(request))
        return request, unknown

    def _permit(self, call: Call, request: _M) -> None:
        further = self._also_needs(request)
        if further and (refusal := self._calls.admission.lacks(call, further)):
            raise RefusedError(refusal)

    def _reply(self, call: Call, info: CallInfo, answer: bytes) -> None:
        if call.reply(answer):
            self._calls.admission.answered(info, 0)
        else:
            refuse(call, TOO_MANY)
            self._calls.admission.answered(info, TOO_MANY.row.code)

    def _refuse(self, call: Call, info: CallInfo, refusal: Refusal, decision_id: str) -> None:
        self._calls.admission.answered(info, refusal.row.code)
        # A failure of ours is in the log under this id; other refusals say it all themselves.
        failed = refusal in (FAULT, STORE_NOT_REACHED)
        refuse(call, refusal, decision_id if failed else "")


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
