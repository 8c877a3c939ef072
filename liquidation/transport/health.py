"""The standard health service, `grpc.health.v1`, as handlers for either transport."""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from liquidation.transport.base import Call, Handler, Metadata, Status, Subscription, Unary

SERVICE_NAME: Final = "grpc.health.v1.Health"
# The trailing metadata of a health check in which each problem is told.
PROBLEM_KEY: Final = "liquidation-problem"

# Characters of a problem that are told there.
_LONGEST_PROBLEM: Final = 200
# Characters of a name that can be that of an entry.
_LONGEST_NAME: Final = 128
# Bytes of a request that is looked into.
_MOST_REQUEST_BYTES: Final = 64 * 1024

_M = TypeVar("_M")

# Neither the stubs nor older versions of grpcio-health-checking know `List`.
_list_messages: Any = health_pb2

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_NOT_FOUND: Final = Status(5, "")
_INVALID: Final = Status(3, "The request is not one of grpc.health.v1.")
_TOO_LARGE: Final = Status(8, "The request is larger than 64 KiB.")
_TOO_MANY: Final = Status(8, "The server has too many health watches.")
_ENDS: Final = Status(14, "The server ends.")


class HealthTable:
    """What serves and what does not; from any thread.

    `problems` are told in the trailing metadata of every check, by the name of what has them.
    """

    def __init__(self, max_watches: int = 1000) -> None:
        """`max_watches` is how many callers may watch at a time."""
        self.problems: dict[str, str] = {}
        self._max_watches = max_watches
        self._statuses: dict[str, int] = {}
        # Who watches which entry; None for a name that can be no entry's.
        self._watches: dict[Call, str | None] = {}
        self._ended = False
        self._lock = threading.Lock()

    def handlers(self) -> dict[str, Handler]:
        """The service's methods."""
        handlers: dict[str, Handler] = {
            f"/{SERVICE_NAME}/Check": Unary(self._check),
            f"/{SERVICE_NAME}/Watch": Subscription(self._watch, self._closed),
        }
        if hasattr(health_pb2, "HealthListRequest"):
            handlers[f"/{SERVICE_NAME}/List"] = Unary(self._list)
        return handlers

    def set(self, name: str, serving: bool) -> None:  # noqa: FBT001 - it is the value itself
        """Sets whether an entry serves, and tells those who watch it; nothing after `end`."""
        status = _SERVING if serving else _NOT_SERVING
        with self._lock:
            if self._ended or self._statuses.get(name) == status:
                return
            self._statuses[name] = status
            self._tell(name, status)

    def end(self) -> None:
        """Tells everybody that nothing serves any more, and ends all watches.

        Clients that look after their channels' health keep one open for as long as they live.
        """
        with self._lock:
            self._ended = True
            for name, status in self._statuses.items():
                if status != _NOT_SERVING:
                    self._statuses[name] = _NOT_SERVING
                    self._tell(name, _NOT_SERVING)
            for call in self._watches:
                call.refuse(*_ENDS)

    def _tell(self, name: str, status: int) -> None:
        response = _response(status)
        for call, watched in self._watches.items():
            if watched == name:
                call.send_latest(response)

    def _check(self, call: Call, data: bytes) -> None:
        if (name := _name_in(call, data)) is None:
            return
        trailers = self._problems_told()
        status = self._statuses.get(name)
        if status is None:
            call.refuse(*_NOT_FOUND, trailers)
        else:
            call.set_trailers(trailers)
            call.reply(_response(status))

    def _problems_told(self) -> Metadata:
        return tuple((PROBLEM_KEY, _header(*each)) for each in self.problems.copy().items())

    def _list(self, call: Call, data: bytes) -> None:
        if parsed(call, data, _list_messages.HealthListRequest.FromString, _INVALID) is None:
            return
        with self._lock:
            statuses = dict(self._statuses)
        response = _list_messages.HealthListResponse()
        for name, status in statuses.items():
            response.statuses[name].status = status
        call.reply(response.SerializeToString())

    def _watch(self, call: Call, data: bytes) -> None:
        name = _name_in(call, data)
        if name is None:
            return
        with self._lock:
            if len(self._watches) >= self._max_watches:
                call.refuse(*_TOO_MANY)
                return
            self._watches[call] = name if len(name) <= _LONGEST_NAME else None
            call.send(_response(self._statuses.get(name, _UNKNOWN)))
            if self._ended:
                call.refuse(*_ENDS)

    def _closed(self, call: Call) -> None:
        with self._lock:
            self._watches.pop(call, None)


def _name_in(call: Call, data: bytes) -> str | None:
    """The name that a caller asks for; None, and the call is refused, if there is none."""
    request = parsed(call, data, health_pb2.HealthCheckRequest.FromString, _INVALID)
    return None if request is None else request.service


def parsed(call: Call, data: bytes, parse: Callable[[bytes], _M], invalid: Status) -> _M | None:
    """The request in `data`; None, and the call is refused, if it is too large or not one."""
    if len(data) > _MOST_REQUEST_BYTES:
        call.refuse(*_TOO_LARGE)
        return None
    try:
        return parse(data)
    except DecodeError:
        call.refuse(*invalid)
        return None


def _response(status: int) -> bytes:
    response = health_pb2.HealthCheckResponse(status=status)
    return response.SerializeToString()


def _header(name: str, problem: str) -> str:
    """A problem as the value of a header: one line of printable ASCII."""
    line = " ".join(f"{name}: {problem}".split())
    printable = "".join(each if each.isprintable() else "?" for each in line)
    return printable.encode("ascii", "replace").decode()[:_LONGEST_PROBLEM]
