"""An input of the target `rpc`: under which rules, and which calls come one after the other.

One byte names the rules; then each call is a byte for its method, two for its length, and its
bytes. Those of a stream are items, each behind two bytes for its length. Any bytes are such an
input: what is cut short ends where the bytes end.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2

METHODS: Final[tuple[MethodDescriptor, ...]] = tuple(
    method
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
# In the place of the id of the claim that began last: no input can know it, nor the next one's.
OURS: Final = b"0" * 32
_LENGTH: Final = 2
_LONGEST: Final = 2 ** (8 * _LENGTH) - 1
_MOST: Final = 8


class Step(NamedTuple):
    """A call; without a method, time that goes by: as many seconds as the first byte says."""

    method: MethodDescriptor | None
    payload: bytes


class Input(NamedTuple):
    """Which of the rules, and what is called."""

    rules: int
    steps: list[Step]

    def encoded(self) -> bytes:
        """The bytes that stand for it."""
        return bytes([self.rules]) + b"".join(map(_encoded, self.steps))


def input_of(data: bytes) -> Input:
    """What `data` stands for."""
    steps: list[Step] = []
    rest = data[1:]
    while rest and len(steps) < _MOST:
        number, (payload, rest) = rest[0] % (len(METHODS) + 1), _first(rest[1:])
        steps.append(Step(METHODS[number] if number < len(METHODS) else None, payload))
    return Input(data[0] if data else 0, steps)


def framed(pieces: Iterable[bytes]) -> bytes:
    """Items of a stream as one."""
    return b"".join(len(each[:_LONGEST]).to_bytes(_LENGTH) + each[:_LONGEST] for each in pieces)


def pieces(payload: bytes) -> Iterator[bytes]:
    """The items in the payload of a stream."""
    rest = payload
    while rest:
        piece, rest = _first(rest)
        yield piece


def request_type(method: MethodDescriptor) -> type[Message]:
    """What a method is sent, or one item of it."""
    return message_factory.GetMessageClass(method.input_type)


def _encoded(step: Step) -> bytes:
    number = len(METHODS) if step.method is None else METHODS.index(step.method)
    return bytes([number]) + framed([step.payload])


def _first(data: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH + int.from_bytes(data[:_LENGTH])
    return data[_LENGTH:end], data[end:]
