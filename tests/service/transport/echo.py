"""An echo service of the transport suite's own, and servers of it on either transport."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

import grpc

from liquidation.transport import Call, Exchange, Handler, Server, Step, Subscription, Unary
from liquidation.transport.queue import QueueServer
from liquidation.transport.threads import ThreadsServer

SERVERS: Final[dict[str, Callable[..., Server]]] = {"queue": QueueServer, "threads": ThreadsServer}
# How long what must happen may take on a machine that is busy, in seconds.
PATIENCE_S: Final = 30


class Echo:
    """Handlers that say what they see; what they keep is taken out of the queues by tests."""

    def __init__(self) -> None:
        self.held: SimpleQueue[Call] = SimpleQueue()
        self.closed: SimpleQueue[Call] = SimpleQueue()
        self.handed_over: SimpleQueue[int] = SimpleQueue()
        # What was done, in its order.
        self.order: list[str] = []
        self.at_end = threading.Event()
        self.inside = 0
        self.most_inside = 0

    def handlers(self) -> dict[str, Handler]:
        return {
            "/echo/Echo": Unary(self.echo),
            "/echo/Size": Unary(self.size),
            "/echo/Refuse": Unary(self.refuse),
            "/echo/Seen": Unary(self.seen),
            "/echo/Hold": Unary(self.hold),
            "/echo/Fail": Unary(self.fail),
            "/echo/FailLater": Unary(self.fail_later),
            "/echo/Chunks": Unary(self.chunks),
            "/echo/GivesWay": Unary(self.gives_way),
            "/echo/Endless": Unary(self.endless),
            "/echo/Wait": Unary(self.wait),
            "/echo/BadTrailers": Unary(self.bad_trailers),
            "/echo/Each": Exchange(self.each),
            "/echo/Many": Exchange(self.many),
            "/echo/EachWaits": Exchange(self.each_waits),
            "/echo/EachFails": Exchange(self.each_fails),
            "/echo/Subscribe": Subscription(self.subscribe, self.closed.put),
            "/echo/SubscribeFails": Subscription(self.subscribe_fails, self.closed.put),
        }

    def echo(self, call: Call, message: bytes) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.order.append("echo")
        told = tuple((key, value) for key, value in call.metadata if key.startswith("x-"))
        call.set_trailers(told)
        self.inside -= 1
        assert call.reply(message)

    def size(self, call: Call, message: bytes) -> None:
        if not call.reply(bytes(int(message))):
            call.refuse(8, "too much is not taken")

    def refuse(self, call: Call, message: bytes) -> None:
        code, _, details = message.decode().partition(" ")
        call.refuse(int(code), details, (("x-why", "asked"), ("x-why-bin", b"\0\xff")))

    def seen(self, call: Call, _: bytes) -> None:
        call.reply(f"{call.method} {call.peer} {call.time_remaining()} {call.cancelled}".encode())

    def hold(self, call: Call, _: bytes) -> None:
        self.held.put(call)

    def fail(self, call: Call, message: bytes) -> None:
        raise ValueError(f"secret {message.decode()} {call.method}")

    def fail_later(self, call: Call, message: bytes) -> Iterator[Step]:
        yield Step.MORE
        self.fail(call, message)

    def chunks(self, call: Call, message: bytes) -> Iterator[Step]:
        for _ in range(int(message)):
            self.order.append("chunk")
            yield Step.MORE
        call.reply(b"done")

    def gives_way(self, call: Call, _: bytes) -> Iterator[Step]:
        """Ends when other work has gone on since its first chunk."""
        self.order.append("gives way")
        while self.order[-1] == "gives way":
            yield Step.MORE
        call.reply(b"done")

    def endless(self, call: Call, _: bytes) -> Iterator[Step]:
        """Goes on until the caller goes, and then until `at_end` is set."""
        self.held.put(call)
        while not (call.cancelled and self.at_end.is_set()):
            self.order.append("endless")
            yield Step.MORE
        self.order.append("ended")

    def wait(self, call: Call, message: bytes) -> Iterator[Step]:
        self.held.put(call)
        for _ in range(int(message)):
            yield Step.WAIT
        self.order.append(f"woken, cancelled: {call.cancelled}")
        call.reply(b"woken")

    def bad_trailers(self, call: Call, message: bytes) -> None:
        call.set_trailers((("Not A Key", "x"),))
        call.reply(message)

    def each(self, call: Call, messages: Sequence[bytes]) -> None:
        self.handed_over.put(len(messages))
        for message in messages:
            call.send(message)

    def many(self, call: Call, messages: Sequence[bytes]) -> None:
        """As many answers as a message says."""
        for message in messages:
            for number in range(int(message)):
                call.send(str(number).encode())

    def each_waits(self, call: Call, messages: Sequence[bytes]) -> Iterator[Step]:
        self.handed_over.put(len(messages))
        self.held.put(call)
        yield Step.WAIT
        for message in messages:
            call.send(message)

    def each_fails(self, call: Call, messages: Sequence[bytes]) -> None:
        call.send(b"before")
        self.fail(call, messages[0])

    def subscribe(self, call: Call, _: bytes) -> None:
        self.held.put(call)

    def subscribe_fails(self, call: Call, message: bytes) -> None:
        self.fail(call, message)


@dataclass
class Running:
    """A server of the echo service, and what a test needs to ask it."""

    server: Server
    address: str
    echo: Echo
    faults: list[BaseException]
    _channels: list[grpc.Channel] = field(default_factory=list)

    def channel(self, *options: tuple[str, Any]) -> Any:
        """A connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), *options)
        channel = grpc.insecure_channel(self.address, options)
        self._channels.append(channel)
        return channel

    def unary(self, method: str) -> Any:
        return self.channel().unary_unary(f"/echo/{method}")

    def stream(self, method: str) -> Any:
        return self.channel().stream_stream(f"/echo/{method}")

    def subscription(self, method: str = "Subscribe") -> Any:
        return self.channel().unary_stream(f"/echo/{method}")

    def held(self) -> Call:
        """The next call that a handler keeps."""
        return self.echo.held.get(timeout=PATIENCE_S)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self.server.drain(0)


class Sending:
    """The messages of a stream, one after the other, as a test puts them."""

    def __init__(self, *messages: bytes) -> None:
        self._messages: SimpleQueue[bytes | None] = SimpleQueue()
        self.put(*messages)

    def put(self, *messages: bytes) -> None:
        for message in messages:
            self._messages.put(message)

    def is_taken(self) -> bool:
        """Whether the caller has begun to send the last of them."""
        return self._messages.empty()

    def end(self) -> None:
        self._messages.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._messages.get, None)


def secure(address: str, credentials: grpc.ChannelCredentials) -> Any:
    """A connection that is encrypted; the stubs of gRPC do not know calls of plain bytes."""
    return grpc.secure_channel(address, credentials)


def plain(address: str) -> Any:
    """A connection in plain text that is shared with nobody."""
    return grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),))


def until(what: Callable[[], object]) -> None:
    """Returns once something is so."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it has not come to it"
        time.sleep(0.002)


def status(error: grpc.RpcError) -> tuple[str, str]:
    """The code's name, and the words."""
    call: Any = error
    return call.code().name, call.details()
