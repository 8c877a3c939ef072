"""Inputs of the target `rpc` made of others: by call, by field of a message, or by byte."""

import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from tests.attacks.fuzz.seam import mutate_bytes
from tests.attacks.fuzz.steps import METHODS, Input, Step, framed, input_of, pieces, request_type

_TEXTS: Final = (
    "", "0", "-0", "1", "-1", "1.000", "0.3334", "0.000000000000000001", "9" * 18 + "." + "9" * 18,
    "1e5", "NaN", "half", "101", "account-low", "liquidator-1", "PERP_BTC_USDC", "PERP_SOL_USDC",
    "~" * 128, "~" * 129, "\u0660", "\x00", "order-1", "YWZ0ZXI6MQ==",
)  # fmt: skip
_WHOLE: Final = (0, 1, 2, -1, 7, 101, 202, 1000, 1001, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_INT32: Final = 2**31


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Another input of at most `most` bytes."""
    draw = random.Random(seed)
    rules, steps = input_of(data)
    if not steps or draw.random() < 0.1:
        return mutate_bytes(data, most)
    place = draw.randrange(len(steps))
    chosen = steps[place]
    kind = draw.random()
    if kind < 0.05:
        rules = draw.randrange(3)
    elif kind < 0.1:
        steps.insert(draw.randrange(len(steps) + 1), chosen)
    elif kind < 0.15:
        del steps[place]
    elif kind < 0.2:
        steps[place] = chosen._replace(method=draw.choice([*METHODS, None]))
    else:
        steps[place] = _changed(chosen, draw)
    made = Input(rules, steps).encoded()
    return made if len(made) <= most else mutate_bytes(data, most)


def _changed(step: Step, draw: random.Random) -> Step:
    """The same call with something else in its request."""
    if step.method is None:
        return step._replace(payload=mutate_bytes(step.payload, 1))
    if not step.method.client_streaming:
        return step._replace(payload=_payload(step, step.payload, draw))
    items = list(pieces(step.payload)) or [b""]
    place = draw.randrange(len(items))
    items[place] = _payload(step, items[place], draw)
    if draw.random() < 0.1:
        items.append(items[place])
    return step._replace(payload=framed(items))


def _payload(step: Step, payload: bytes, draw: random.Random) -> bytes:
    assert step.method is not None
    message = request_type(step.method)()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return mutate_bytes(payload, len(payload) + 64)
    if not message.DESCRIPTOR.fields or draw.random() < 0.1:
        return mutate_bytes(payload, len(payload) + 64)
    _change(message, draw)
    return message.SerializeToString()


def _change(message: Any, draw: random.Random) -> None:
    """Sets, clears or adds to a field of the message, or of one that is part of it."""
    field: FieldDescriptor = draw.choice(message.DESCRIPTOR.fields)
    if draw.random() < 0.15:
        message.ClearField(field.name)
        return
    value = getattr(message, field.name)
    if field.message_type is None:
        drawn = _value(field, value, draw)
        if field.is_repeated:
            value.append(drawn)
        else:
            setattr(message, field.name, drawn)
    elif field.message_type.GetOptions().map_entry:
        value[draw.choice(_TEXTS)] = draw.choice(_TEXTS)
    elif field.is_repeated:
        _change_repeated(value, draw)
    else:
        value.SetInParent()
        _change(value, draw)


def _change_repeated(values: Any, draw: random.Random) -> None:
    if not values or draw.random() < 0.1:
        values.add()
    elif draw.random() < 0.1:
        copied: Message = draw.choice(values)
        values.add().CopyFrom(copied)
    elif draw.random() < 0.1:
        del values[draw.randrange(len(values))]
    else:
        _change(draw.choice(values), draw)


def _value(field: FieldDescriptor, now: Any, draw: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return not now
    if field.type == FieldDescriptor.TYPE_STRING:
        if draw.random() < 0.5:
            return draw.choice(_TEXTS)
        return mutate_bytes(now.encode(), len(now) + 8).decode("utf-8", "replace")
    number = draw.choice(_WHOLE) if draw.random() < 0.7 else now + draw.randint(-2, 2)
    bound = 2**63 if field.type == FieldDescriptor.TYPE_INT64 else _INT32
    return max(-bound, min(number, bound - 1))
