"""Answers and log lines without what differs from run to run: named ids, and no times.

The first id that is seen becomes "decision-1", the next "decision-2", and so on. So two sides whose
ids correspond one to one become equal, and any other two do not.
"""

import base64
import re
import time
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from liquidation.v1 import errors_pb2
from tests.attacks.differential.calls import FAR, METHODS, Json
from tests.attacks.differential.sending import Answer

_DETAILS_KEY: Final = "grpc-status-details-bin"
_DETAILS: Final = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        errors_pb2.LiquidationError,
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
    )
}
# How much of what could not be read is logged at most, and what an entry of a map begins with.
_HEAD_BYTES: Final = 256
_MAP_ENTRY: Final = b"2"
_SECOND_US: Final = 1_000_000
_SECOND_NS: Final = 1_000_000_000
# How far from now a time may be that is said to be now.
_NOW_US: Final = 3600 * _SECOND_US
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_PEER: Final = re.compile(r"ipv4:127\.0\.0\.1:\d+")


def plain(message: Message) -> Json:
    """A message as JSON: times in microseconds, durations in nanoseconds, bytes as Latin-1."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: Any, value: Any) -> Any:
    kind = _KINDS.get(field.full_name)
    if kind is None:
        kind = _KINDS[field.full_name] = _kind(field)
    return kind(value)


def _kind(field: Any) -> Callable[[Any], Any]:
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        is_plain = held.fields_by_name["value"].message_type is None
        return dict if is_plain else lambda value: {k: plain(v) for k, v in value.items()}
    one = _as_is if held is None else _SPECIAL.get(held.full_name, plain)
    return (lambda value: [one(each) for each in value]) if field.is_repeated else one


def _as_is(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _detail(packed: AnyMessage) -> Json:
    name = packed.type_url.rpartition("/")[2]
    kind = _DETAILS.get(name)
    if kind is None:
        return {"type_url": packed.type_url, "value": packed.value.decode("latin-1")}
    return {"type_url": packed.type_url, "value": plain(kind.FromString(packed.value))}


def _microseconds(value: Timestamp) -> int:
    return value.seconds * _SECOND_US + value.nanos // 1000


def _nanoseconds(value: Duration) -> int:
    return value.seconds * _SECOND_NS + value.nanos


_SPECIAL: Final[dict[str, Callable[[Any], Any]]] = {
    "google.protobuf.Any": _detail,
    "google.protobuf.Timestamp": _microseconds,
    "google.protobuf.Duration": _nanoseconds,
}
_KINDS: Final[dict[str, Callable[[Any], Any]]] = {}


class Canonical:
    """Names the ids of one server, in the order in which they are shown to it."""

    def __init__(self) -> None:
        self._names: dict[str, dict[object, str]] = {
            kind: {} for kind in ("decision", "claim", "token", "page")
        }
        self._now_us = time.time_ns() // 1000
        self._cleaners: dict[str, Callable[[Any, Json], Any]] = {
            "decision_id": lambda value, _: self._name("decision", value),
            "fencing_token": lambda value, _: self._token(value),
            "next_page_token": lambda value, _: self._name("page", value),
            "retry_delay": lambda value, _: {"about": value / _SECOND_NS},
            "lease_left_s": lambda value, _: {"about": float(value)},
            "timestamp": lambda value, _: "now" if _TIMESTAMP.fullmatch(value) else value,
            "latency_us": lambda value, _: "some" if value >= 0 else value,
            "head_base64": lambda value, _: _head(value),
            "peer": lambda value, _: _peer(value),
            "process": lambda value, _: "process" if value else value,
            "seq": lambda *_: "next",
            "begin_time": self._time,
            "begin_us": self._time,
            "time": self._time,
            "expire_time": self._expiry,
            "expire_us": self._expiry,
            "end_time": self._end,
            "end_us": self._end,
        }

    def answer(self, path: str, answer: Answer) -> Json:
        """All of an answer."""
        told: Json = {"code": answer.code, "message": self.clean(answer.message)}
        trailers = []
        for key, value in answer.trailers:
            if key == _DETAILS_KEY and isinstance(value, bytes):
                told["details"] = self.clean(plain(status_pb2.Status.FromString(value)))
            else:
                trailers.append([key, str(value)])
        told["headers"] = [[key, str(value)] for key, value in answer.headers]
        told["trailers"] = trailers
        told["responses"] = [self.clean(_response(path, each)) for each in answer.responses]
        return {key: value for key, value in told.items() if value}

    def clean(self, value: Any) -> Any:
        """A part of an answer or of a line."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            if "begin_time" in value:
                # A claim in an answer: its ids are the server's own, those in requests may be
                # anything.
                self._name("claim", value.get("claim_id"))
                self._name("token", value.get("fencing_token"))
            cleaners, clean = self._cleaners, self.clean
            return {
                self._text(key): cleaners[key](each, value) if key in cleaners else clean(each)
                for key, each in value.items()
            }
        return [self.clean(each) for each in value] if isinstance(value, list) else value

    def _text(self, text: str) -> str:
        """A text that is the id of a claim that the server granted, or the path of one."""
        claims = self._names["claim"]
        if text in claims:
            return claims[text]
        return f"claims/{claims.get(text[7:], text[7:])}" if text[:7] == "claims/" else text

    def _name(self, kind: str, value: object) -> object:
        if not value:
            return value
        names = self._names[kind]
        return names.setdefault(value, f"{kind}-{len(names) + 1}")

    def _token(self, value: int | str) -> int | str:
        """A token that the server gave, or one that far above it; others as they are."""
        names, number = self._names["token"], int(value)
        if number in names:
            return names[number]
        return f"above {names[number - FAR]}" if number - FAR in names else value

    def _time(self, value: Any, _: Json) -> Any:
        is_now = isinstance(value, int) and abs(value - self._now_us) < _NOW_US
        return "now" if is_now else value

    def _expiry(self, value: Any, holder: Json) -> Any:
        begun = holder.get("begin_time") or holder.get("begin_us") or holder.get("time")
        if not value or not begun:
            return self._time(value, holder)
        lasts = value - begun
        # After a renewal it is no whole number: only a claim that was not renewed is exact.
        return lasts // _SECOND_US if lasts % _SECOND_US == 0 else {"about": lasts / _SECOND_US}

    def _end(self, value: Any, holder: Json) -> Any:
        expires = holder.get("expire_time") or holder.get("expire_us")
        return "at its expiry" if value and value == expires else self._time(value, holder)


def _head(value: str) -> str | list[int]:
    """The first bytes of what could not be read.

    The service may have written it anew, with its maps in any order: then only how often each byte
    is there can be compared, and of a part of it only the length.
    """
    head = base64.b64decode(value)
    if _MAP_ENTRY not in head:
        return value
    return sorted(head) if len(head) < _HEAD_BYTES else [len(head)]


def _peer(value: str) -> str:
    if value.startswith("masked-"):
        return "masked"
    return _PEER.sub("ipv4:127.0.0.1", value)


def _response(path: str, response: bytes) -> Any:
    try:
        if path in METHODS:
            return plain(METHODS[path].response.FromString(response))
    except DecodeError:
        return {"no message": response.decode("latin-1")}
    return {"bytes": response.decode("latin-1")}
