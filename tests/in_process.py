"""Handlers called as a transport calls them, with no network in between."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from liquidation.transport.base import (
    MOST_MESSAGES,
    Exchange,
    Handler,
    Metadata,
    Step,
    Unary,
    Work,
)
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests.sidecars import Refused

__all__ = ["METHODS", "Answered", "Begun", "answer", "path_of", "response_of"]

# Far longer than any answer takes; a call that is never answered fails instead of hanging.
_PATIENT_S = 60.0

METHODS: Mapping[str, MethodDescriptor] = {
    method.name: method
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def path_of(method: MethodDescriptor) -> str:
    """The full name of a method, by which its handler is found."""
    return f"/{method.containing_service.full_name}/{method.name}"


def response_of(method: MethodDescriptor, data: bytes) -> Message:
    """What a method answered."""
    return message_factory.GetMessageClass(method.output_type).FromString(data)


@dataclass(frozen=True)
class Answered:
    """How a call ended: its messages, and its refusal if it was refused."""

    responses: list[bytes]
    refused: Refused | None


class _Call:
    """What a handler sees of a call, and how it ends one; it is ended once."""

    def __init__(self, path: str, metadata: Metadata = ()) -> None:
        self.method = path
        self.metadata = metadata
        self.peer = "ipv4:127.0.0.1:1"
        self.cancelled = False
        self.unsent = 0
        self.responses: list[bytes] = []
        self.refused: Refused | None = None
        self.over = threading.Event()
        self._resumed = threading.Semaphore(0)

    def time_remaining(self) -> float | None:
        return None

    def reply(self, message: bytes) -> bool:
        self.responses.append(message)
        self._end()
        return True

    def refuse(self, code: int, message: str, trailers: Metadata = ()) -> None:
        status = next(each for each in grpc.StatusCode if each.value[0] == code)
        told = grpc.aio.Metadata(*trailers)
        self.refused = Refused(grpc.aio.AioRpcError(status, grpc.aio.Metadata(), told, message))
        self._end()

    def set_trailers(self, trailers: Metadata) -> None:
        raise AssertionError(f"no handler of these services sets trailers: {trailers}")

    def send(self, message: bytes) -> bool:
        self.responses.append(message)
        return True

    def send_latest(self, message: bytes) -> None:
        raise AssertionError(f"no stream of these services is of the latest alone: {message!r}")

    def resume(self) -> None:
        self._resumed.release()

    def wait(self) -> None:
        """Returns after one `resume`."""
        assert self._resumed.acquire(timeout=_PATIENT_S), "the work is never resumed"

    def _end(self) -> None:
        assert not self.over.is_set(), "the call was answered before"
        self.over.set()


class Begun:
    """A unary call up to where its handler has to wait; `ended` does the rest."""

    def __init__(
        self, handler: Handler, path: str, request: bytes, metadata: Metadata = ()
    ) -> None:
        assert isinstance(handler, Unary)
        self._call = _Call(path, metadata)
        self._work: Iterator[Step] = iter(handler.handle(self._call, request) or ())
        self._waits = False
        self._go_on()

    def ended(self) -> Answered:
        """How the call ended."""
        while self._waits:
            self._call.wait()
            self._go_on()
        assert self._call.over.wait(_PATIENT_S), "the call is never answered"
        return Answered(self._call.responses, self._call.refused)

    def _go_on(self) -> None:
        self._waits = any(step is Step.WAIT for step in self._work)


def answer(
    handler: Handler, path: str, requests: Sequence[bytes], metadata: Metadata = ()
) -> Answered:
    """How a call ends: a unary one with one request, an exchange with any number of them."""
    if isinstance(handler, Unary):
        (request,) = requests
        return Begun(handler, path, request, metadata).ended()
    assert isinstance(handler, Exchange)
    call = _Call(path, metadata)
    for start in range(0, len(requests), MOST_MESSAGES):
        _do(handler.handle(call, requests[start : start + MOST_MESSAGES]), call)
        if call.over.is_set():
            break
    return Answered(call.responses, call.refused)


def _do(work: Work, call: _Call) -> None:
    for step in work or ():
        if step is Step.WAIT:
            call.wait()
