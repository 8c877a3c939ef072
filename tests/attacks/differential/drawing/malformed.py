"""Changes after which a request is not well formed, or holds what the service does not know."""

from collections.abc import Callable
from random import Random
from typing import Final

from google.protobuf.message import Message

from tests.attacks.differential.calls import Json
from tests.attacks.oracle.malformed import break_shape, break_text

_INT64: Final = 2**63 - 1
# Fields of a number that no message has: a varint, a text, a fixed number, a group, a large number.
_UNKNOWN: Final = (
    b"\xf8\x7f\x01",
    b"\xfa\x7f\x03abc",
    b"\xfd\x7f\x01\x02\x03\x04",
    b"\xfb\x7f\xfc\x7f",
    b"\xf8\xff\xff\xff\x0f\x01",
)
# Behind a message these make it unreadable, or break one of its fields.
_BROKEN: Final = (b"\xff", b"\x08", b"\x0a\x7f", b"\x0b", b"\x0c", b"\x00\x00", b"\x0a\x02\xff\xfe")


def break_one(random: Random, request: Json, unknown_id: int) -> None:
    """Changes one text of a sound request for a decision, or its shape."""
    kind = random.randrange(4)
    if kind < 2:
        break_text(random, request)
    elif kind == 2:
        break_shape(random, request, unknown_id)
    else:
        make_odd(random, request, unknown_id)


def make_odd(random: Random, request: Json, unknown_id: int) -> None:
    """Makes a request, which may be broken already, what the oracle cannot write."""
    terms, sent = request["terms"], request.get("liquidation")
    ids = (0, -1, unknown_id, _INT64, -_INT64 - 1)
    changes: list[Callable[[], object]] = [
        lambda: terms.update(liquidation_id=random.choice(ids)),
        lambda: request.pop("terms"),
        lambda: request.update(liquidator={"account": {}}),
    ]
    if sent is not None:
        changes += [
            lambda: sent.update(tier=random.choice((0, 3, -1))),
            lambda: sent.update(revision=random.choice((0, -1, _INT64))),
            lambda: sent.update(liquidation_id=sent["liquidation_id"] + 1),
            lambda: sent.update(snapshot_time={"seconds": random.choice((-(10**12), 10**12))}),
            lambda: sent.update(snapshot_time={"nanos": random.choice((-1, 10**9))}),
        ]
    random.choice(changes)()


def parts_of(message: Message) -> list[Message]:
    """A message and all messages in it."""
    parts = [message]
    for field, value in message.ListFields():
        held = field.message_type
        if held is None or held.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            parts += parts_of(each)
    return parts


def with_unknown_field(random: Random, message: Message) -> Message:
    """The message, with a field that the service does not know somewhere in it."""
    for _ in range(random.choice((1, 1, 2, 12))):
        random.choice(parts_of(message)).MergeFromString(random.choice(_UNKNOWN))
    return message


def spoiled(random: Random, data: bytes) -> bytes:
    """The bytes of a message, with something behind them that does not belong there."""
    return data + random.choice((*_BROKEN, *_UNKNOWN))


def bytes_of_no_message(random: Random, data: bytes) -> bytes:
    """The bytes of a message with one thing wrong anywhere: any id in it may become another one."""
    kind = random.randrange(4)
    if kind == 0 or not data:
        return spoiled(random, data)
    place = random.randrange(len(data))
    if kind == 1:
        return data[:place]
    if kind == 2:
        return spoiled(random, data[:place]) + data[place:]
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]
