"""The fields that the service does not know: however they come, the first of them are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.api.messages import MAX_UNKNOWN, unknown_fields
from liquidation.v1 import liquidation_pb2, liquidation_service_pb2, rules_service_pb2
from tests.unit.seeded import seeded

# A known field that makes a message too large for protobuf to list what is unknown in it.
LARGE = rules_service_pb2.CheckClaimRequest()
LARGE.terms.liquidator_id = "x" * 5000


def varint(value: int) -> bytes:
    least = value & 0x7F
    return bytes([least | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([least])


def tag(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


NUMBERS = st.integers(70, 2**29 - 1).filter(lambda number: not 19000 <= number < 20000)
VALUES = (
    st.tuples(st.just(0), st.integers(0, 2**64 - 1).map(varint))
    | st.tuples(st.just(1), st.binary(min_size=8, max_size=8))
    | st.tuples(st.just(2), st.binary(max_size=300).map(lambda each: varint(len(each)) + each))
    | st.tuples(st.just(5), st.binary(min_size=4, max_size=4))
)
FIELDS = st.recursive(
    st.tuples(NUMBERS, VALUES).map(lambda each: tag(each[0], each[1][0]) + each[1][1]),
    lambda inner: st.tuples(NUMBERS, st.lists(inner, max_size=3)).map(
        lambda each: tag(each[0], 3) + b"".join(each[1]) + tag(each[0], 4)
    ),
    max_leaves=5,
)


def read(data: bytes) -> rules_service_pb2.CheckClaimRequest:
    return rules_service_pb2.CheckClaimRequest.FromString(data)


@seeded(200)
@given(st.lists(FIELDS, max_size=12))
def test_of_a_large_message_the_same_are_named_as_of_a_small_one(fields: list[bytes]) -> None:
    data = b"".join(fields)

    told = unknown_fields(read(LARGE.SerializeToString() + data))

    assert told == unknown_fields(read(data))
    assert len(told) == min(len(fields), MAX_UNKNOWN)


def test_a_known_number_of_another_kind_is_unknown_in_a_large_message_too() -> None:
    assert unknown_fields(read(LARGE.SerializeToString() + tag(1, 0) + varint(7))) == ("1",)


@pytest.mark.parametrize(
    ("positions", "told"),
    [(4096, ("liquidation.positions[4095].77",)), (4097, ("liquidation.positions",))],
)
def test_so_many_entries_are_looked_into_and_then_the_field_is_named(
    positions: int, told: tuple[str, ...]
) -> None:
    request = rules_service_pb2.CheckClaimRequest()
    for _ in range(positions):
        request.liquidation.positions.append(liquidation_pb2.Position())
    request.liquidation.positions[-1].MergeFromString(tag(77, 0) + varint(1))

    assert unknown_fields(request) == told


def test_in_a_full_batch_the_one_entry_that_has_something_unknown_is_named() -> None:
    batch = liquidation_service_pb2.BatchPutLiquidationsRequest()
    for _ in range(1000):
        one = batch.requests.add().liquidation
        for _ in range(5):
            one.positions.add()
    batch.requests[900].liquidation.positions[4].MergeFromString(tag(77, 0) + varint(1))

    assert unknown_fields(batch) == ("requests[900].liquidation.positions[4].77",)


def test_of_a_group_of_any_length_the_number_is_named() -> None:
    inner = (tag(78, 0) + varint(1)) * 100_000
    data = tag(77, 3) + inner + tag(77, 4)

    assert unknown_fields(read(data + tag(79, 0) + varint(1))) == ("77",)
