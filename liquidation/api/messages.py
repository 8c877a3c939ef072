"""Bytes to messages, and which fields of a message the service does not know."""

from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from liquidation.rules.model import ClaimRequest, FieldViolation

_M = TypeVar("_M", bound=Message)

# Unknown fields that are named; a caller may send any number of them.
MAX_UNKNOWN: Final = 8
# Bytes below which protobuf may list all of a message's unknown fields: a million take a second.
_SMALL: Final = 4096
# Entries of repeated fields that are looked into. A sound request has a thousand, and some hundreds
# more in each of them that has something unknown.
_MOST_VISITED: Final = 4096
# Tags of unknown fields that are read at most: groups may hold as many as a message has bytes.
_MOST_TAGS: Final = 1024

# The wire types of protobuf (https://protobuf.dev/programming-guides/encoding/#structure).
_VARINT, _I64, _LEN, _BEGIN, _END, _I32 = range(6)


def parse_message(
    message_type: type[_M], data: bytes, largest: int
) -> tuple[_M | FieldViolation, tuple[str, ...]]:
    """The message that `data` holds, or why it holds none of at most `largest` bytes.

    With it come the paths of the fields that the service does not know, at any depth.
    """
    if len(data) > largest:
        problem = f"must have at most {largest} bytes, has {len(data)}"
        return FieldViolation("request", problem), ()
    try:
        message = message_type.FromString(data)
    except DecodeError:
        problem = f"is not a {message_type.DESCRIPTOR.full_name} message"
        return FieldViolation("request", problem), ()
    # Nearly no message has any: to see that takes a fourth of the time of a copy without them.
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() == size:
        return message, ()
    message = message_type.FromString(data)
    return message, unknown_fields(message)


def unreadable(*violations: FieldViolation, unknown_fields: tuple[str, ...] = ()) -> ClaimRequest:
    """A request of which nothing is parsed, and why."""
    return ClaimRequest(violations=violations, unknown_fields=unknown_fields)


def unknown_fields(message: Message, *, deep: bool = True) -> tuple[str, ...]:
    """Paths of fields that the service does not know, such as `terms.17`.

    At any depth, or with `deep` False only those of the message itself.
    """
    if not _has_unknown(message):
        return ()
    if not deep:
        return tuple(str(number) for number in islice(_own_unknown(message), MAX_UNKNOWN))
    visits = iter(range(_MOST_VISITED))
    return tuple(islice(_unknown(message, "", visits), MAX_UNKNOWN))


def _unknown(message: Message, path: str, visits: Iterator[int]) -> Iterator[str]:
    """Paths of unknown fields; with no `visits` left, of the field that was not looked into."""
    if not _has_unknown(message):
        return
    yield from (f"{path}{number}" for number in _own_unknown(message))
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for index, each in enumerate(value):
                if next(visits, None) is None:
                    yield f"{path}{field.name}"
                    return
                yield from _unknown(each, f"{path}{field.name}[{index}].", visits)
        else:
            yield from _unknown(value, f"{path}{field.name}.", visits)


def _has_unknown(message: Message) -> bool:
    """Whether there is an unknown field at any depth."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()


def _own_unknown(message: Message) -> Iterator[int]:
    if message.ByteSize() < _SMALL:
        unknown = UnknownFieldSet(message)
        return (unknown[index].field_number for index in range(len(unknown)))
    alone = type(message)()
    alone.CopyFrom(message)
    for field, _ in message.ListFields():
        alone.ClearField(field.name)
    return _numbers(alone.SerializeToString())


def _numbers(data: bytes) -> Iterator[int]:
    """The numbers of the fields that `data` has, which protobuf wrote; not of those in groups."""
    position = depth = 0
    for _ in range(_MOST_TAGS):
        if position == len(data):
            return
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if depth == 0:
            yield number
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _LEN:
            size, position = _varint(data, position)
            position += size
        elif kind in (_I64, _I32):
            position += 8 if kind == _I64 else 4
        else:
            depth += 1 if kind == _BEGIN else -1


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while data[position] & 0x80:
        value |= (data[position] & 0x7F) << shift
        shift += 7
        position += 1
    return value | data[position] << shift, position + 1
