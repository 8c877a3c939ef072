"""The catalogue says what the exchange's table says, word for word."""

import csv
from pathlib import Path
from string import Formatter

import pytest
from google.rpc import error_details_pb2

from liquidation.rules import errors
from liquidation.rules.errors import OWN_WORDS, TABLE, Detail, ErrorCode, ErrorRow, GrpcCode
from liquidation.rules.model import Refusal
from tests import samples
from tests.unit.deciding import decision_on

_CSV = Path(__file__).parents[1] / "data" / "error_codes.csv"
with _CSV.open(newline="", encoding="utf-8") as _file:
    EXCHANGE = [tuple(row.values()) for row in csv.DictReader(_file)]

ROW_IDS = [f"{row.code} {row.message[:40]}" for row in TABLE]

# gRPC code of every row, by code; where rows of one code differ, by their words.
GRPC_CODES = {
    -1000: "INTERNAL",
    -1001: "UNAUTHENTICATED",
    -1002: "UNAUTHENTICATED",
    -1003: "RESOURCE_EXHAUSTED",
    -1004: "INVALID_ARGUMENT",
    -1005: "INVALID_ARGUMENT",
    -1006: "NOT_FOUND",
    -1007: "ALREADY_EXISTS",
    -1011: "UNAVAILABLE",
    -1012: "ABORTED",
    -1101: "FAILED_PRECONDITION",
    -1103: "FAILED_PRECONDITION",
    -1201: "FAILED_PRECONDITION",
}
GRPC_CODES_OF_1202 = {
    "No need to liquidation because user margin is enough.": "FAILED_PRECONDITION",
    "Can not find given liquidationId.": "NOT_FOUND",
}

# What this service says. A row that joins or leaves has to be named here as well.
EMITTED = [
    (-1000, "An unknown error occurred while processing the request."),
    (-1001, "The api key or secret is in wrong format."),
    (
        -1002,
        (
            "API key or secret is invalid, it may be because key have insufficient permission or "
            "the key is expired/revoked."
        ),
    ),
    (-1003, "Rate limit exceed."),
    (-1004, "An unknown parameter was sent."),
    (-1005, "Some parameters are in wrong format for api."),
    (-1005, "ratio_qty_request should be in range 0-1."),
    (-1005, "extra_liquidation_ratio should be in range 0-1."),
    (-1005, "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1."),
    (
        -1006,
        (
            "The data is not found in server. For example, when client try canceling a CANCELLED "
            "order, will raise this error."
        ),
    ),
    (-1007, "The data is already exists or your request is duplicated."),
    (
        -1011,
        (
            "Can not place/cancel orders, it may be because internal network error. "
            "Please try again in a few seconds."
        ),
    ),
    (
        -1012,
        (
            "The place/cancel order request is rejected by internal module, it may because the "
            "account is in liquidation or other internal errors. Please try again in a few seconds."
        ),
    ),
    (-1012, "Another liquidation is in process"),
    (-1101, "The margin will be insufficient after."),
    (-1103, "The order price is not following the scope or range rules."),
    (-1201, "total notional < 10000, least req ratio should = 1"),
    (-1201, "least req ratio should = xxxx"),
    (-1202, "No need to liquidation because user margin is enough."),
    (-1202, "Can not find given liquidationId."),
]


def test_the_exchange_has_27_rows() -> None:
    assert len(EXCHANGE) == 27


def test_the_table_is_the_exchanges_row_by_row_and_word_for_word() -> None:
    ours = [(str(row.code), str(row.kind.http_status), row.kind.name, row.message) for row in TABLE]

    assert ours == EXCHANGE


def test_rows_of_one_code_share_one_code_object() -> None:
    kinds: dict[int, ErrorCode] = {}
    for row in (*TABLE, *OWN_WORDS):
        assert kinds.setdefault(row.code, row.kind) is row.kind


def test_rows_of_our_own_use_codes_of_the_table() -> None:
    known = {row.code for row in TABLE}

    for row in OWN_WORDS:
        assert row.code in known
        assert (row.message, row.grpc) not in {(each.message, each.grpc) for each in TABLE}


def test_a_good_key_that_lacks_a_permission_is_told_in_the_tables_words() -> None:
    row = errors.KEY_LACKS_PERMISSION

    assert (row.code, row.kind.name, row.grpc.name) == (-1002, "UNAUTHORIZED", "PERMISSION_DENIED")
    assert row.message == errors.KEY_REFUSED.message


def test_every_row_of_the_module_is_in_a_table() -> None:
    rows = [value for value in vars(errors).values() if isinstance(value, ErrorRow)]

    assert {id(row) for row in rows} == {id(row) for row in (*TABLE, *OWN_WORDS)}


@pytest.mark.parametrize("row", TABLE, ids=ROW_IDS)
def test_a_row_travels_with_the_grpc_code_of_the_contract(row: ErrorRow) -> None:
    if row.code == -1202:
        assert row.grpc.name == GRPC_CODES_OF_1202[row.message]
    elif row.code in GRPC_CODES:
        assert row.grpc.name == GRPC_CODES[row.code]
    else:
        assert not row.emitted


@pytest.mark.parametrize("code", GrpcCode, ids=lambda code: code.name)
def test_a_grpc_code_has_its_canonical_number(code: GrpcCode) -> None:
    canonical = {
        "INVALID_ARGUMENT": 3,
        "NOT_FOUND": 5,
        "ALREADY_EXISTS": 6,
        "PERMISSION_DENIED": 7,
        "RESOURCE_EXHAUSTED": 8,
        "FAILED_PRECONDITION": 9,
        "ABORTED": 10,
        "OUT_OF_RANGE": 11,
        "INTERNAL": 13,
        "UNAVAILABLE": 14,
        "UNAUTHENTICATED": 16,
    }

    assert code.value == canonical[code.name]


def test_the_rows_that_this_service_says_are_these() -> None:
    assert [(row.code, row.message) for row in TABLE if row.emitted] == EMITTED


@pytest.mark.parametrize("row", TABLE, ids=ROW_IDS)
def test_a_row_says_when_it_is_said_and_never_only_where_it_is_not(row: ErrorRow) -> None:
    assert row.when.endswith(".")
    assert row.when.startswith("Never: ") is not row.emitted


# Each template with the values that stand in its example, which for the table is the exchange's.
EXAMPLES = [
    (errors.TOTAL_BELOW_THRESHOLD, {"min_claim_notional": "10000", "least_req_ratio": "1"}),
    (errors.RATIO_TOO_SMALL, {"least_req_ratio": "xxxx"}),
    (errors.CLAIM_ENDED, {"state": "expired"}),
]


@pytest.mark.parametrize(("row", "values"), EXAMPLES, ids=[row.message for row, _ in EXAMPLES])
def test_a_template_filled_with_the_exchanges_numbers_gives_its_words(
    row: ErrorRow, values: dict[str, str]
) -> None:
    assert row.render(values) == row.message
    assert row.placeholders == values.keys()


def test_every_template_has_an_example() -> None:
    templated = [row for row in (*TABLE, *OWN_WORDS) if row.template is not None]

    assert templated == [row for row, _ in EXAMPLES]


def test_a_row_without_template_stands_as_it_is_whatever_the_values() -> None:
    row = errors.WRONG_FORMAT

    assert row.render({"least_req_ratio": "1"}) == row.message
    assert row.placeholders == frozenset()


def test_a_template_without_its_number_is_a_fault_and_never_half_a_message() -> None:
    with pytest.raises(KeyError):
        errors.RATIO_TOO_SMALL.render({})


def _refusals() -> list[Refusal]:
    below = samples.low_request({"ratio_qty_request": "0.5"}, {"positions": [_position("9999")]})
    small = samples.low_request({"ratio_qty_request": "0.5"}, {"positions": [_position("19999")]})
    return [
        refusal
        for request in (below, small)
        if (refusal := decision_on(request).refusal) is not None
    ]


def _position(notional: str) -> dict[str, str]:
    return {"symbol": "PERP_BTC_USDC", "position_qty": "1", "mark_price": notional}


def test_every_placeholder_is_among_the_values_of_the_refusals_with_that_row() -> None:
    refusals = _refusals()

    assert {refusal.row for refusal in refusals} == {row for row in TABLE if row.template}
    for refusal in refusals:
        assert refusal.row.placeholders <= refusal.values.keys()


def test_the_numbers_of_a_message_are_those_of_its_values() -> None:
    below, small = _refusals()

    assert below.message == "total notional < 10000, least req ratio should = 1"
    assert small.message == "least req ratio should = 0.5001"
    assert small.values["least_req_ratio"] == "0.5001"


def test_placeholders_are_plain_names() -> None:
    for row in TABLE:
        for _, name, specification, conversion in Formatter().parse(row.template or ""):
            assert name is None or (name.isidentifier() and not specification and not conversion)


def test_a_kind_of_detail_is_named_as_its_message() -> None:
    assert {each.value for each in Detail} <= set(
        error_details_pb2.DESCRIPTOR.message_types_by_name
    )
    assert {type(row.kind.detail) for row in TABLE} == {Detail, type(None)}


DETAILS = {
    Detail.BAD_REQUEST: {-1004, -1005},
    Detail.PRECONDITION_FAILURE: {-1101, -1103, -1201, -1202},
    Detail.RETRY_INFO: {-1003, -1011, -1012},
}


@pytest.mark.parametrize("detail", [*DETAILS, None])
def test_a_code_carries_the_detail_of_the_contract(detail: Detail | None) -> None:
    others = {row.code for row in TABLE} - {code for codes in DETAILS.values() for code in codes}

    assert {row.code for row in TABLE if row.kind.detail is detail} == (
        others if detail is None else DETAILS[detail]
    )
