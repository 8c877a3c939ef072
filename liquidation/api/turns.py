"""Calls that come while the event loop has no rest are answered together.

Done one after the other, with gRPC's work between them, every call finds the processor's caches
cold; done together, each finds them as the one before it left them. At 64 in flight that is 1.3
times the calls a second (see bench/README.md). A call that comes alone waits for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

from liquidation.api.desk import TURN

__all__ = ["TurnSize", "Turns"]

_T = TypeVar("_T")
_A = TypeVar("_A")

# How long a call waits for others at most, in seconds.
_PATIENCE_S: Final = 0.002
# From which share of its time on, spent computing, the event loop's thread has no rest; and below
# which it has so much that nobody needs to wait.
_NO_REST: Final = 0.7
_REST: Final = 0.4
# Turns until it is tried again whether more calls come together, first and at most.
_FIRST_PAUSE: Final = 32
_LONGEST_PAUSE: Final = 512


class TurnSize:
    """How many calls are worth waiting for, found by trying twice as many now and then.

    `size` is 1 until the thread has no rest. Where twice as many came, ever more are tried at once;
    where they did not, ever more seldom.
    """

    def __init__(self, monotonic_ns: Callable[[], int], thread_ns: Callable[[], int]) -> None:
        """`thread_ns` is the time that this thread has computed."""
        self.size = 1
        self._monotonic_ns = monotonic_ns
        self._thread_ns = thread_ns
        self._seen = (monotonic_ns(), thread_ns())
        self._turns = 0
        self._pause = _FIRST_PAUSE
        self._trying = False

    def reached(self) -> None:
        """As many calls as were waited for came."""
        if self._trying:
            self._trying, self._turns, self._pause = False, 0, 1
        self._turns += 1
        if self._turns < self._pause:
            return
        self._turns = 0
        computed = self._computed()
        if computed >= _NO_REST and self.size < TURN:
            self.size, self._trying = 2 * self.size, True
            return
        self._pause = _FIRST_PAUSE
        if computed < _REST:
            self.size = max(self.size // 2, 1)

    def missed(self, came: int) -> None:
        """Only so many came in time."""
        self.size = max(came, 1)
        self._turns = 0
        tried_before = self._trying and self._pause >= _FIRST_PAUSE
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) if tried_before else _FIRST_PAUSE
        self._trying = False

    def _computed(self) -> float:
        """The share of its time that the thread has computed since this was last asked."""
        before, self._seen = self._seen, (self._monotonic_ns(), self._thread_ns())
        passed, computed = (now - then for now, then in zip(self._seen, before, strict=True))
        return computed / max(passed, 1)


class Turns(Generic[_T, _A]):
    """Hands calls over to be answered: each by itself, or in turns of some."""

    def __init__(
        self,
        answer: Callable[[Sequence[_T], Sequence[bool]], Awaitable[Sequence[_A]]],
        size: TurnSize,
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`answer` is told of each call whether its caller went away while it waited.

        `begin` runs a turn to its end.
        """
        self._answer = answer
        self._size = size
        self._begin = begin
        self._waiting: list[tuple[_T, asyncio.Future[_A]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, call: _T) -> _A:
        """The answer to one call.

        Raises:
            Exception: what `answer` raised, for every call of the turn.
        """
        if self._size.size == 1 and not self._waiting:
            self._size.reached()
            (alone,) = await self._answer((call,), (False,))
            return alone
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_A] = loop.create_future()
        self._waiting.append((call, future))
        if len(self._waiting) >= self._size.size:
            self._size.reached()
            self._begin_turn()
        elif self._timer is None:
            self._timer = loop.call_later(_PATIENCE_S, self._end_of_patience)
        return await future

    def _end_of_patience(self) -> None:
        self._size.missed(len(self._waiting))
        self._begin_turn()

    def _begin_turn(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        turn, self._waiting = self._waiting, []
        self._begin(self._take(turn))

    async def _take(self, turn: Sequence[tuple[_T, "asyncio.Future[_A]"]]) -> None:
        gone = [future.cancelled() for _, future in turn]
        try:
            answers = await self._answer([call for call, _ in turn], gone)
        except Exception as error:  # noqa: BLE001 - raised again, for each of those who wait
            for _, future in turn:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(turn, answers, strict=True):
            if not future.done():
                future.set_result(answer)
