"""Opens a server on the fastest transport that works here."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import grpc

from liquidation.transport.base import (
    Call,
    Exchange,
    Handler,
    OnFault,
    Options,
    Server,
    Step,
    Unary,
)
from liquidation.transport.threads import ThreadsServer

QUEUE: Final = "queue"
THREADS: Final = "threads"
# How long the trial of the queue transport may take, in seconds.
_TRIAL_S: Final = 5.0


def open_server(
    kind: str | None,
    handlers: Mapping[str, Handler],
    options: Options = (),
    on_fault: OnFault = lambda _: None,
    max_untaken_bytes: int = 0,
    max_call_s: float = float("inf"),
) -> tuple[Server, str]:
    """A server, and why it is not on the queue transport though that was wanted, "" otherwise.

    `kind` is "queue", "threads", or None for the best that works; the queue transport is tried
    before it is used. The other arguments are those of `queue.QueueServer`.

    Raises:
        ValueError: there is no transport of that kind.
    """
    if kind not in (QUEUE, THREADS, None):
        raise ValueError(f"there is no transport {kind!r}")
    problem = "" if kind == THREADS else _problem_of_queue()
    server_type = ThreadsServer if kind == THREADS or problem else _queue_server()
    return server_type(handlers, options, on_fault, max_untaken_bytes, max_call_s), problem


def _queue_server() -> Callable[..., Server]:
    # It stands on a private module of grpcio, which may lack what it imports.
    from liquidation.transport.queue import QueueServer  # noqa: PLC0415

    return QueueServer


def _problem_of_queue() -> str:
    """Why the queue transport does not work with this grpcio, "" if it does.

    It is tried on a thread of its own: what has changed may also hang.
    """
    result: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_trial, args=(result,), name="trial", daemon=True).start()
    try:
        return result.get(timeout=_TRIAL_S)
    except Empty:
        return "it did not answer in time"


def _trial(result: SimpleQueue[str]) -> None:
    try:
        with tempfile.TemporaryDirectory() as directory:
            _try_queue(f"unix:{Path(directory) / 's'}", result)
    except BaseException as error:  # noqa: BLE001 - whatever it is, there is another transport
        result.put(f"{type(error).__name__}: {error}")


def _try_queue(address: str, result: SimpleQueue[str]) -> None:
    """Makes one call of each way through the transport; raises if one goes wrong.

    The result is told before the end, for which nobody has to wait.
    """
    faults: list[BaseException] = []
    server = _queue_server()(
        {
            "/trial/Echo": Unary(_echo),
            "/trial/Wait": Unary(_wait),
            "/trial/Refuse": Unary(_refuse),
            "/trial/Exchange": Exchange(_exchange),
        },
        (),
        faults.append,
    )
    server.listen(address, None)
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            _call(channel)
        if faults:
            raise faults[0]
        result.put("")
    finally:
        server.drain(0.0)


def _call(channel: grpc.Channel) -> None:
    metadata = (("trial", "1"), ("trial-bin", b"\0"))
    for method in ("Echo", "Wait"):
        unary: Any = channel.unary_unary(f"/trial/{method}")
        answer, call = unary.with_call(b"trial", timeout=_TRIAL_S, metadata=metadata)
        _expect(answer, b"trial")
        _expect(tuple(map(tuple, call.trailing_metadata())), metadata)
    refused: Any = channel.unary_unary("/trial/Refuse")
    try:
        refused(b"trial", timeout=_TRIAL_S)
    except grpc.RpcError as error:
        status: Any = error  # grpcio raises both in one
        _expect((status.code(), status.details()), (grpc.StatusCode.ABORTED, "trial"))
    else:
        raise RuntimeError("a refused call was answered")
    sent = [b"1", b"2", b"3"]
    stream: Any = channel.stream_stream("/trial/Exchange")
    _expect(list(stream(iter(sent), timeout=_TRIAL_S)), sent)


def _expect(seen: object, expected: object) -> None:
    if seen != expected:
        raise RuntimeError(f"it gave {seen!r} in place of {expected!r}")


def _echo(call: Call, message: bytes) -> None:
    told = tuple(each for each in call.metadata if each[0].startswith("trial"))
    if not call.peer.startswith("unix:") or call.time_remaining() is None:
        raise RuntimeError("peer or deadline of a call are not told")
    call.set_trailers(tuple((key, value) for key, value in told))
    call.reply(message)


def _wait(call: Call, message: bytes) -> Iterator[Step]:
    yield Step.MORE
    threading.Thread(target=call.resume).start()
    yield Step.WAIT
    _echo(call, message)


def _refuse(call: Call, message: bytes) -> None:
    call.refuse(grpc.StatusCode.ABORTED.value[0], message.decode())


def _exchange(call: Call, messages: Sequence[bytes]) -> None:
    for message in messages:
        call.send(message)
