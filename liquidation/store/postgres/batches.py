"""Requests of one kind that share their round trips.

A request that comes alone goes out at once. What comes while others are under way waits for them,
and goes out together: the more callers, the more of them share a trip and a commit.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

from liquidation.store.base import Done, Fault, StoreUnavailableError, report

_Q = TypeVar("_Q")
_R = TypeVar("_R")
_Q_contra = TypeVar("_Q_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)


class ContendedError(StoreUnavailableError):
    """Others held what was needed for too long; what was asked has certainly not happened."""


class Ask(Protocol[_Q_contra, _R_co]):
    """What answers questions together."""

    async def __call__(
        self, questions: Sequence[_Q_contra], /, *, alone: bool
    ) -> Sequence[_R_co | Exception]:
        """The answers in order, an exception being raised to its caller.

        Raises:
            ContendedError: one of them was held up. Each is asked again, `alone`, beside the
                others: nobody but its caller waits for it then.
            Exception: nobody has an answer.
        """
        ...


class _Waiting(Generic[_Q, _R]):
    """A question whose `done` takes the answer until `due_s`; None once it has."""

    __slots__ = ("done", "due_s", "question")

    def __init__(self, question: _Q, done: Done[_R], due_s: float) -> None:
        self.question = question
        self.done: Done[_R] | None = done
        self.due_s = due_s


class Batches(Generic[_Q, _R]):
    """Asks questions together and gives each caller its own answer; for the thread of a loop."""

    def __init__(
        self,
        ask: Ask[_Q, _R],
        most: int,
        lanes: int,
        patience_s: float,
        weight: Callable[[_Q], int] = lambda _: 1,
        on_fault: Fault = lambda _: None,
    ) -> None:
        """Asks `ask` many questions at once, in up to `lanes` batches at once.

        Questions join a batch until their weights are `most`. A caller waits for `patience_s`.
        `on_fault` takes what callbacks raise.
        """
        self._ask = ask
        self._most = most
        self._lanes = lanes
        self._patience_s = patience_s
        self._weight = weight
        self._on_fault = on_fault
        self._queue: deque[_Waiting[_Q, _R]] = deque()
        self._busy = 0
        self._under_way: set[asyncio.Task[None]] = set()
        # By growing `due_s`; those answered since are removed when they would be due.
        self._waiting: deque[_Waiting[_Q, _R]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, question: _Q, done: Done[_R]) -> None:
        """Tells `done` the answer to one question.

        Or StoreUnavailableError if there was none in time. A question that was not sent by then
        never is; of one that was sent it is not known whether it took effect.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[_Q, _R] = _Waiting(question, done, loop.time() + self._patience_s)
        self._queue.append(waiting)
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = loop.call_at(waiting.due_s, self._end_what_is_due)
        if self._busy < self._lanes:
            self._busy += 1
            self._start(self._serve())

    def _end_what_is_due(self) -> None:
        loop = asyncio.get_running_loop()
        self._end(until_s=loop.time())
        self._timer = None
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0].due_s, self._end_what_is_due)

    def _end(self, until_s: float) -> None:
        while self._waiting and (
            self._waiting[0].due_s <= until_s or self._waiting[0].done is None
        ):
            message = f"no answer within {self._patience_s:g} s"
            self._report(self._waiting.popleft(), StoreUnavailableError(message))

    async def drained(self) -> None:
        """Returns when nothing is under way; callers that still wait get StoreUnavailableError."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._end(until_s=float("inf"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _serve(self) -> None:
        try:
            while batch := self._gather():
                await self._answer(batch)
        finally:
            # In the same step in which it saw that nobody waits: who comes next starts another.
            # And if a batch was dropped by a fault of ours, no lane is lost with it.
            self._busy -= 1

    def _gather(self) -> list[_Waiting[_Q, _R]]:
        batch: list[_Waiting[_Q, _R]] = []
        weight = 0
        while self._queue and weight < self._most:
            waiting = self._queue.popleft()
            if waiting.done is not None:
                batch.append(waiting)
                weight += self._weight(waiting.question)
        return batch

    async def _answer(self, batch: Sequence[_Waiting[_Q, _R]], *, alone: bool = False) -> None:
        try:
            answers = await self._ask([each.question for each in batch], alone=alone)
        except ContendedError as error:
            if not alone:
                # One of them is held up, and must not hold up the others, nor who comes next.
                for each in batch:
                    if each.done is not None:
                        self._start(self._answer((each,), alone=True))
                return
            answers = [error]
        except Exception as error:  # noqa: BLE001 - raised again, to all whose question it was
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.done is not None:
                self._report(waiting, answer)

    def _report(self, waiting: _Waiting[_Q, _R], answer: _R | Exception) -> None:
        done, waiting.done = waiting.done, None
        if done is not None:
            report(done, answer, self._on_fault)
