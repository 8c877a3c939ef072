"""Calls of the queue transport that wait for their callers, and how they are ended.

All of it is the answering thread's.
"""

import time

from liquidation.transport import statuses
from liquidation.transport.drain import LISTEN_S, READ_S
from liquidation.transport.queue_call import QueueCall
from liquidation.transport.queue_streams import StreamCall


class Waiting:
    """Who waits for a caller, and since when."""

    def __init__(self, max_call_s: float) -> None:
        """`max_call_s` is how long a call's one request may take to come, in seconds."""
        self._max_call_s = max_call_s
        # Calls whose one request has not come, oldest first.
        self.awaited: dict[QueueCall, None] = {}
        # Streams that wait for their callers; subscriptions from their request on.
        self.idle: dict[StreamCall, None] = {}
        # Streams that were told to end, and until when they may take to hear it.
        self._leaving: dict[StreamCall, float] = {}
        self.sheds = 0

    def came(self, call: QueueCall) -> bool:
        """The one request of `call` is there; False if the call was ended before."""
        return self.awaited.pop(call, call) is None

    def forget(self, stream: StreamCall) -> None:
        """A stream is over."""
        self.idle.pop(stream, None)
        self._leaving.pop(stream, None)

    def look(self, now_s: float) -> None:
        """Ends what is due: requests that do not come, streams that do not hear."""
        for call in list(self.awaited):
            if now_s - call.since < self._max_call_s:
                break
            del self.awaited[call]
            call.refuse(*statuses.LATE_REQUEST)
        for stream, until_s in list(self._leaving.items()):
            if now_s >= until_s:
                del self._leaving[stream]
                stream.cut_off()

    def leave(self, stream: StreamCall, status: statuses.Status) -> None:
        """Ends a stream, soon even if its caller does not read."""
        stream.refuse(*status)
        self._leaving[stream] = time.monotonic() + LISTEN_S

    def let_leave(self, stream: StreamCall) -> None:
        """Gives a stream that its handler ended some time until its caller has read the end."""
        self._leaving.setdefault(stream, time.monotonic() + READ_S)

    def end_idle(self) -> None:
        """Ends the streams that wait for their callers, since the server ends."""
        for stream in list(self.idle):
            if stream.is_subscription:
                self.leave(stream, statuses.DRAINING)
            else:
                stream.refuse(*statuses.DRAINING)

    def shed(self) -> int:
        """Ends the calls that have waited since before the last shed; how many."""
        before, self.sheds = self.sheds, self.sheds + 1
        streams = [each for each in self.idle if each.waited < before]
        requests = [each for each in self.awaited if each.waited < before]
        for stream in streams:
            stream.drop_unsent()
            self.leave(stream, statuses.SHED_STREAM)
            self.idle.pop(stream, None)
        for call in requests:
            del self.awaited[call]
            call.refuse(*statuses.SHED_REQUEST)
        return len(streams) + len(requests)
