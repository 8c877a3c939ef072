"""Values to messages of the API and back, driven by the fields of the values alone.

A value and its message name their fields alike, so no pair of them needs a conversion of its own.
"""

import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from liquidation.rules.numbers import plain
from liquidation.v1 import claim_service_pb2, liquidation_pb2, rules_service_pb2
from liquidation.values import ClaimState, RuleMode, RuleOutcome, Tier

_V = TypeVar("_V")
_M = TypeVar("_M", bound=Message)

_ENUMS: Final[Mapping[type[Enum], EnumTypeWrapper]] = {
    Tier: liquidation_pb2.Tier,
    RuleOutcome: liquidation_pb2.RuleOutcome,
    RuleMode: rules_service_pb2.RuleMode,
    ClaimState: claim_service_pb2.ClaimState,
}


def message_of(message_type: type[_M], value: Any) -> _M:
    """The message that says `value`. A value that is a message of that type already is it.

    Raises:
        TypeError, ValueError: a field holds what the message cannot, such as an id above int64.
    """
    if isinstance(value, message_type):
        return value
    return message_type(**_written(value))


def value_of(kind: type[_V], message: Message) -> _V:
    """The value of type `kind` that `message` says; None for what is absent in it.

    An enum value that this version does not know is None too. Maps, which have no order in a
    message, come by growing keys.
    """
    present = {field.name: field.has_presence for field in message.DESCRIPTOR.fields}
    return kind(
        **{
            name: None
            if present[name] and not message.HasField(name)
            else read(getattr(message, name))
            for name, read in _readers(cast("Hashable", kind))
        }
    )


def _written(value: Any) -> Any:
    """`value` in a form that the constructor of a message takes."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Enum):
        return _numbers(type(value))[value]
    if is_dataclass(value):
        held = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _written(each) for name, each in held if each is not None}
    if isinstance(value, Mapping):
        return {key: _written(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_written(each) for each in value]
    return value


@cache
def _readers(kind: Hashable) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """The fields of `kind`, and how each is read from a message that has it."""
    return tuple((name, _reader(hint)) for name, hint in get_type_hints(kind).items())


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if Decimal in (hint, *arguments):
        return _number
    if origin in (Union, types.UnionType):
        (hint,) = (each for each in arguments if each is not type(None))
        return _reader(hint)
    if origin is Sequence:
        item = _reader(arguments[0])
        return lambda held: tuple(item(each) for each in held)
    if origin is Mapping:
        entry = _reader(arguments[1])
        return lambda held: {key: entry(held[key]) for key in sorted(held)}
    if hint is datetime:
        return lambda held: held.ToDatetime(UTC)
    if hint is timedelta:
        return lambda held: held.ToTimedelta()
    if hint in _ENUMS:
        return {number: member for member, number in _numbers(hint).items()}.get
    if is_dataclass(hint):
        return lambda held: value_of(cast("type[Any]", hint), held)
    scalar: Callable[[Any], Any] = hint
    return scalar


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None


@cache
def _numbers(kind: type[Enum]) -> Mapping[Enum, int]:
    """Every member with its number on the wire; TIER_LOW is `Tier.LOW`."""
    wire = _ENUMS[kind]
    prefix = wire.Name(0).removesuffix("UNSPECIFIED")
    return {member: wire.Value(f"{prefix}{member.name}") for member in kind}
