"""The thread that answers: it takes gRPC's events in turns, runs handlers, and sends answers.

In a turn every event that is ready is taken, up to a bound, then the handlers run, then all that
they answered is sent: what one step needs stays in the processor's caches. Large work goes on one
chunk a turn, so that nobody waits for more than one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import get_ident
from typing import Any, Final

from grpc._cython.cygrpc import (
    CompletionQueue,
    ReceiveMessageOperation,
)
from grpc._cython.cygrpc import Server as CoreServer

from liquidation.transport.base import (
    MOST_MESSAGES,
    NO_REQUEST,
    UNKNOWN_METHOD,
    Exchange,
    Handler,
    OnFault,
    Options,
    Subscription,
    Unary,
    Untaken,
    Work,
)
from liquidation.transport.queue_call import SENT, QueueCall, Taking, UnaryCall
from liquidation.transport.queue_streams import ExchangeCall, StreamCall, SubscriptionCall
from liquidation.transport.queue_waiting import Waiting, Works

# Events that are taken in one turn at most.
_MOST_EVENTS: Final = 64
# How long the thread sleeps at most when nothing happens, in seconds: what other threads ask of it
# and what is due by the clock waits for that.
_TICK_S: Final = 0.05
# The same once a drain has begun, whose steps are asked by another thread.
_DRAIN_TICK_S: Final = 0.005
# How often calls are looked through whose time may have come, in seconds.
_LOOK_S: Final = 0.05
# How long handlers' work may go on when all calls are over, in seconds.
_WORK_ON_S: Final = 5.0
# The tag of a call that comes next.
_NEW: Final = object()

_now = time.monotonic


class Loop:
    """Takes the events of one server and answers them, on one thread of its own.

    What is public here is for the calls and the server of this package. Other threads may use `do`,
    `ask` and `untaken`.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        options: Options,
        on_fault: OnFault,
        max_untaken_bytes: int,
        max_call_s: float,
    ) -> None:
        self.core = CoreServer(tuple(options), False)  # noqa: FBT003 - gRPC's signature
        self.queue = CompletionQueue()
        self.core.register_completion_queue(self.queue)
        # gRPC reads from all sockets whichever queue is polled, but not in the first poll after a
        # batch that ended at once, as most do. This queue has no batches: polling it always reads.
        self._sockets = CompletionQueue()
        # Whether messages of streams were handed over in the turn before.
        self._streamed = False
        self._handlers = {method.encode(): handler for method, handler in handlers.items()}
        self._on_fault = on_fault
        self.untaken = Untaken(max_untaken_bytes)
        # Held while another thread wakes this one, and when all is over.
        self._lock = threading.Lock()
        self.thread = 0
        self.over = False
        # Answers of this turn, and those that are held back while a drain begins.
        self.replies: list[tuple[Any, tuple[Any, ...], Any]] = []
        self._held: list[tuple[Any, tuple[Any, ...], Any]] | None = None
        # Streams that have something to send or to read, and messages that came.
        self.unsettled: list[StreamCall] = []
        self.ready: list[tuple[Any, Any]] = []
        self.works = Works(self.failed)
        self._asked: deque[Callable[[], None]] = deque()
        self._waking = False
        # Bound once: it is the tag of each batch that wakes.
        self._woken: Callable[[object], None] = self._wake
        self.waiting = Waiting(max_call_s)
        self.draining = False
        self._tick_s = _TICK_S
        self.stopping = False
        self.unary_arrivals = 0
        # The time at the end of the turn before, in seconds.
        self._now_s = _now()
        self._next_look_s = 0.0
        self._all_over_s: float | None = None

    def run(self) -> None:
        """Takes calls and answers them until the server is over; on the answering thread."""
        self.thread = get_ident()
        self._request_call()
        while not self.over:
            try:
                self._turn()
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self.fault(error)
            if self._all_over_s is not None:
                self._end_if_done(self._all_over_s)
        self.thread = 0

    def _turn(self) -> None:
        works = self.works
        busy = works.due or self.ready or self._asked
        if self._streamed or works.due:
            # Else a stream that never pauses would have everyone else wait.
            self._streamed = False
            self._sockets.poll(0.0)
        self._take_events(self.queue.poll(0.0 if busy else time.time() + self._tick_s))
        if self._asked:
            self._answer_asked()
        if self.ready:
            self._hand_over()
        if works.due:
            works.do_chunk()
        if self.unsettled:
            self._settle()
        if self.replies:
            self._send()
        self._now_s = now_s = _now()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_S
            self.waiting.look(now_s)

    def _take_events(self, event: Any) -> None:
        """Takes `event` and those that are ready behind it, up to the bounds of a turn."""
        poll, ready, unary = self.queue.poll, self.ready, UnaryCall
        seen = 1
        while True:
            tag = event.tag
            if tag is SENT:
                pass
            elif tag is _NEW:
                self._take_up(event)
            elif type(tag) is unary:
                ready.append((tag, event.batch_operations[0].message()))
            elif tag is None:
                return
            else:
                tag(event)
            if seen == _MOST_EVENTS or len(ready) >= MOST_MESSAGES:
                return
            seen += 1
            event = poll(0.0)

    def _take_up(self, event: Any) -> None:
        if not self.stopping:
            self._request_call()
        if not event.success:
            return  # no call came, and none will: the server stops
        handler = self._handlers.get(event.call_details.method)
        if type(handler) is Unary:
            self.unary_arrivals += 1
            call = UnaryCall(self, event, self.waiting.sheds, self._now_s, handler.handle)
            self.waiting.awaited[call] = None
            event.call.start_server_batch((ReceiveMessageOperation(0),), call)
        elif isinstance(handler, Exchange):
            ExchangeCall(self, event, self.waiting.sheds, self._now_s, handler).begin()
        elif isinstance(handler, Subscription):
            subscription = SubscriptionCall(self, event, self.waiting.sheds, self._now_s, handler)
            self.waiting.awaited[subscription] = None
            subscription.begin()
        else:
            UnaryCall(self, event, 0, 0.0, _never).refuse(*UNKNOWN_METHOD)

    def _request_call(self) -> None:
        self.core.request_call(self.queue, self.queue, _NEW)

    def _hand_over(self) -> None:
        ready, self.ready = self.ready, []
        came, due = self.waiting.came, self.works.due
        for call, message in ready:
            if type(call) is not UnaryCall:
                self._streamed = True
                call.take(message)
                continue
            if not came(call):
                continue  # it was ended before its message came
            if message is None:
                call.refuse(*NO_REQUEST)
                continue
            try:
                work = call.handle(call, message)
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self.failed(call, error)
                continue
            if work is not None:
                due.append((call, work))
            if not call.ended:
                call.listen()

    def _settle(self) -> None:
        unsettled, self.unsettled = self.unsettled, []
        for stream in unsettled:
            try:
                stream.settle()
            except BaseException as error:  # noqa: BLE001 - one call must not end all others
                self.failed(stream, error)

    def _send(self) -> None:
        replies, self.replies = self.replies, []
        if self._held is not None:
            self._held.extend(replies)
            return
        for core, operations, tag in replies:
            self.start(core, operations, tag)

    def start(self, core: Any, operations: tuple[Any, ...], tag: Any) -> None:
        """Hands a batch with an answer to gRPC; if gRPC does not take it, the call fails."""
        try:
            if not core.start_server_batch(operations, tag):
                return
            self.fault(ValueError("gRPC does not take this answer: its trailers are invalid"))
        except BaseException as error:  # noqa: BLE001 - one call must not end all others
            self.fault(error)
        if type(tag) is Taking:
            tag(None)
        core.cancel()

    def do(self, core: Any, what: Callable[[], None]) -> None:
        """Lets the answering thread do `what` about the call `core`, soon; from any thread."""
        self._asked.append(what)
        if not self._waking and get_ident() != self.thread:
            self._waking = True
            with self._lock:
                if not self.over:
                    # A batch of nothing ends at once, and its end wakes the thread.
                    core.start_server_batch((), self._woken)

    def _wake(self, _: object) -> None:
        # Before what was asked is looked at: what comes after that wakes the thread again.
        self._waking = False

    def ask(self, what: Callable[[], None]) -> threading.Event:
        """Lets the answering thread do `what` within a tick; the event is set when it has."""
        done = threading.Event()

        def answer() -> None:
            try:
                what()
            finally:
                done.set()

        self._asked.append(answer)
        return done

    def _answer_asked(self) -> None:
        while self._asked:
            self._asked.popleft()()

    def fault(self, error: BaseException) -> None:
        """Tells of something that should not have happened."""
        with suppress(BaseException):
            self._on_fault(error)

    def failed(self, call: QueueCall, error: BaseException) -> None:
        """Ends a call whose handler raised."""
        self.fault(error)
        try:
            call.fail()
        except BaseException as also:  # noqa: BLE001 - one call must not end all others
            self.fault(also)
            call.core.cancel()

    def begin_drain(self) -> None:
        """Holds unary answers back, and ends the streams that wait for their callers."""
        self.draining = True
        self._tick_s = _DRAIN_TICK_S
        self._held = []
        self.waiting.end_idle()

    @property
    def holding(self) -> bool:
        """Whether a unary call waits for its answer to be let go."""
        return bool(self._held)

    def stop(self) -> None:
        """Takes no more calls, and tells clients that their connections end."""
        self.stopping = True
        self.core.shutdown(self.queue, self._stopped)

    def release(self) -> None:
        """Lets the answers go that were held back."""
        held, self._held = self._held or [], None
        for core, operations, tag in held:
            self.start(core, operations, tag)

    def cancel_all(self) -> None:
        """Cancels the calls in progress."""
        self.core.cancel_all_calls()

    def _stopped(self, _: Any) -> None:
        """All calls are over; the thread ends when the work of handlers is done too."""
        self._all_over_s = _now()

    def _end_if_done(self, all_over_s: float) -> None:
        if not self.works.all_done and _now() < all_over_s + _WORK_ON_S:
            return
        with self._lock:
            self.over = True
        self.works.close()
        self.core.destroy()


def _never(_: object, __: bytes) -> Work:
    """What handles the call of a method that there is not: nothing."""
    return None
