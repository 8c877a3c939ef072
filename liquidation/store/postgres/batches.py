"""Requests of one kind that share their round trips.

A request that comes alone goes out at once. What comes while others are under way waits for them,
and goes out together: the more callers, the more of them share a trip and a commit.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from liquidation.store.base import StoreUnavailableError

__all__ = ["Ask", "Batches", "ContendedError"]

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


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[_Q, _R]):
    question: _Q
    done: "asyncio.Future[_R]"


class Batches(Generic[_Q, _R]):
    """Asks questions together, and gives each caller its own answer."""

    def __init__(
        self,
        ask: Ask[_Q, _R],
        most: int,
        lanes: int,
        patience_s: float,
        weight: Callable[[_Q], int] = lambda _: 1,
    ) -> None:
        """Asks `ask` many questions at once, in up to `lanes` batches at once.

        Questions join a batch until their weights are `most`. A caller waits for `patience_s`.
        """
        self._ask = ask
        self._most = most
        self._lanes = lanes
        self._patience_s = patience_s
        self._weight = weight
        self._queue: deque[_Waiting[_Q, _R]] = deque()
        self._busy = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, question: _Q) -> _R:
        """The answer to one question.

        Raises:
            StoreUnavailableError: there was none in time. A question that was not sent by then
                never is; of one that was sent it is not known whether it took effect.
        """
        waiting: _Waiting[_Q, _R] = _Waiting(question, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._busy < self._lanes:
            self._busy += 1
            self._start(self._serve())
        try:
            # The question belongs to its lane: a caller that is cancelled takes nothing back.
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(waiting.done)
        except TimeoutError as error:
            waiting.done.cancel()
            raise StoreUnavailableError(f"no answer within {self._patience_s:g} s") from error

    async def drained(self) -> None:
        """Returns when nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

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
            # And where a batch was dropped by a fault of ours, no lane is lost with it.
            self._busy -= 1

    def _gather(self) -> list[_Waiting[_Q, _R]]:
        batch: list[_Waiting[_Q, _R]] = []
        weight = 0
        while self._queue and weight < self._most:
            waiting = self._queue.popleft()
            if not waiting.done.done():
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
                    if not each.done.done():
                        self._start(self._answer((each,), alone=True))
                return
            answers = [error]
        except Exception as error:  # noqa: BLE001 - raised again, to all whose question it was
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.done.done():
                continue
            if isinstance(answer, Exception):
                waiting.done.set_exception(answer)
                # Where the caller is gone, nobody is left to look at it.
                waiting.done.exception()
            else:
                waiting.done.set_result(answer)
