"""Changes after which a request is not well formed, or holds what the service does not know."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from google.protobuf.message import Message

from tests.attacks.differential.calls import Json

__all__ = ["break_one", "bytes_of_no_message", "parts_of", "spoiled", "with_unknown_field"]

_TEXTS: Final = (
    "", "+1", "1e3", ".5", "5.", " 1", "1\n", "１", "NaN", "Infinity", "-", "1" * 19, "-0", "0.0",
    "0." + "1" * 19, "0x1", "1_0", "--1", "abc", "1,5", "-1", "0", "1." + "0" * 18, "0" * 18 + "1",
)  # fmt: skip
_NAMES: Final = ("", "a" * 128, "a" * 129, "café", "tab\t", "line\n", "\x7f", "\u200b", " a", "a ")
_IDS: Final = frozenset({"symbol", "account_id", "liquidator_id", "request_id"})
_MOST: Final = 256
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
    """Changes one text of a request for a decision, or its shape."""
    places = list(_places(request))
    if places and random.randrange(2):
        holder, key = random.choice(places)
        holder[key] = random.choice(_NAMES if key in _IDS else _TEXTS)
        return
    random.choice(_changes(random, request, unknown_id))()


def _places(part: Any) -> Iterator[tuple[Json, str]]:
    pairs = part.items() if isinstance(part, dict) else ()
    for key, value in pairs:
        if isinstance(value, str):
            yield part, key
        yield from _places(value)
    for value in part if isinstance(part, list) else ():
        yield from _places(value)


def _changes(random: Random, request: Json, unknown_id: int) -> list[Callable[[], object]]:
    terms, sent = request["terms"], request.get("liquidation")
    ids = (0, -1, unknown_id, _INT64, -_INT64 - 1)
    changes: list[Callable[[], object]] = [
        lambda: terms.update(liquidation_id=random.choice(ids)),
        lambda: terms.update(ratio_qty_request=random.choice(("1", ""))),
        lambda: terms.update(symbols=[]),
        lambda: terms.update(symbols=terms.get("symbols", []) * 2),
        lambda: terms.update(limit_price={random.choice(_NAMES): "1"}),
        lambda: request.update(terms={}),
        lambda: request.pop("terms"),
        lambda: request.update(liquidator={"liquidator_id": terms.get("liquidator_id", "")}),
        lambda: request.update(liquidator={"account": {}}),
    ]
    if random.randrange(40) == 0:
        many = {str(each): "1" for each in range(_MOST + 1)}
        changes = [
            lambda: terms.update(symbols=_many("ratio_qty_request"), ratio_qty_request=""),
            lambda: terms.update(limit_price=many),
        ]
    return changes + (_changes_of_snapshot(random, sent) if sent else [])


def _changes_of_snapshot(random: Random, sent: Json) -> list[Callable[[], object]]:
    first = sent["positions"][0]
    listed = sent.get("account", sent)["positions"]
    changes: list[Callable[[], object]] = [
        lambda: sent.update(tier=random.choice((0, 3, -1))),
        lambda: sent.update(revision=random.choice((0, -1, _INT64))),
        lambda: sent.update(positions=[]),
        lambda: sent.update(positions=sent["positions"] * 2),
        lambda: sent.update(liquidation_id=sent["liquidation_id"] + 1),
        lambda: sent.update(margin_ratio="0.01", maintenance_margin_ratio="0.02"),
        lambda: sent.update(maintenance_margin_ratio=random.choice(("0", "-0", "-1"))),
        lambda: sent.update(account={}),
        lambda: sent.update(snapshot_time={"seconds": random.choice((-(10**12), 10**12))}),
        lambda: sent.update(snapshot_time={"nanos": random.choice((-1, 10**9))}),
        lambda: [each.update(position_qty="0") for each in listed],
        lambda: first.update(position_qty=random.choice(("0", "-0.0"))),
        lambda: first.update(mark_price=random.choice(("0", "-0.0", "-1"))),
    ]
    if random.randrange(40) == 0:
        changes = [lambda: sent.update(positions=_many("position_qty", mark_price="1"))]
    return changes


def _many(key: str, **others: str) -> list[Json]:
    """One entry more than there may be."""
    return [{"symbol": f"PERP_{index}_USDC", key: "1", **others} for index in range(_MOST + 1)]


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
