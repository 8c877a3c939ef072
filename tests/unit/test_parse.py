"""What is wrong with a request is found field by field, and nothing of it is used then."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.api.messages import unreadable
from liquidation.rules.model import ClaimRequest, FieldViolation, Liquidation, Tier
from liquidation.rules.numbers import plain
from liquidation.rules.parse import parse_liquidation, parse_request
from tests import samples
from tests.unit.deciding import request_of
from tests.unit.seeded import seeded

Json = dict[str, Any]

LOW = samples.low_request(
    {"extra_liquidation_ratio": "0", "limit_price": {"PERP_BTC_USDC": "50000"}},
    liquidator=samples.liquidator(),
)
HIGH = samples.high_request()
WITH_ACCOUNT = samples.low_request(
    liquidation={
        "margin_ratio": "",
        "maintenance_margin_ratio": "",
        "account": {
            "collateral_value": "100",
            "positions": [samples.margin_position("PERP_BTC_USDC", position_qty="1")],
        },
    }
)


def _place(request: Json, path: str) -> tuple[Any, Any]:
    """What holds the value at `path`, such as `terms.symbols[1].symbol`, and its key there."""
    keys: list[Any] = []
    for name in path.split("."):
        field, _, index = name.partition("[")
        keys += [field, int(index.rstrip("]"))] if index else [field]
    holder: Any = request
    for key in keys[:-1]:
        holder = holder[key]
    return holder, keys[-1]


def _changed(request: Json, path: str, value: Any) -> Json:
    changed = deepcopy(request)
    holder, key = _place(changed, path)
    holder[key] = value
    return changed


def _fields(request: Json) -> list[str]:
    parsed = request_of(request)
    assert parsed.violations
    assert (parsed.terms, parsed.snapshot, parsed.liquidator) == (None, None, None)
    return [violation.field for violation in parsed.violations]


DECIMALS = [
    *((LOW, path) for path in (
        "terms.ratio_qty_request",
        "terms.extra_liquidation_ratio",
        "liquidation.positions[0].position_qty",
        "liquidation.positions[1].mark_price",
        "liquidation.margin_ratio",
        "liquidation.maintenance_margin_ratio",
        "liquidator.account.collateral_value",
        "liquidator.account.max_leverage",
        "liquidator.account.positions[0].position_qty",
        "liquidator.account.positions[0].mark_price",
        "liquidator.account.positions[0].base_mmr",
        "liquidator.account.positions[1].base_imr",
        "liquidator.account.positions[1].imr_factor",
    )),
    *((HIGH, path) for path in (
        "terms.symbols[0].ratio_qty_request",
        "terms.symbols[1].ratio_qty_request",
    )),
    *((WITH_ACCOUNT, path) for path in (
        "liquidation.account.collateral_value",
        "liquidation.account.positions[0].position_qty",
        "liquidation.account.positions[0].mark_price",
        "liquidation.account.positions[0].base_mmr",
        "liquidation.account.positions[0].base_imr",
        "liquidation.account.positions[0].imr_factor",
    )),
]  # fmt: skip
PATHS = [path for _, path in DECIMALS]

# What may be left out, by its empty text.
OPTIONAL = {"terms.extra_liquidation_ratio", "liquidator.account.positions[0].base_mmr"}


@pytest.mark.parametrize(("request_", "path"), DECIMALS, ids=PATHS)
@pytest.mark.parametrize("text", ["1e3", "+1", " 1", "1\n", ".5", "NaN", "１", "9" * 19])
def test_a_text_that_is_no_decimal_is_told_by_its_path(
    request_: Json, path: str, text: str
) -> None:
    assert path in _fields(_changed(request_, path, text))


@pytest.mark.parametrize(("request_", "path"), DECIMALS, ids=PATHS)
def test_a_decimal_that_is_left_out_is_told_unless_nothing_needs_it(
    request_: Json, path: str
) -> None:
    changed = _changed(request_, path, "")

    if path in OPTIONAL:
        assert request_of(changed).violations == ()
    else:
        assert path in _fields(changed)


ABOVE_ZERO = [
    (request, path)
    for request, path in DECIMALS
    if path.rpartition(".")[2]
    in {"mark_price", "maintenance_margin_ratio", "max_leverage", "base_mmr", "base_imr"}
]


@pytest.mark.parametrize(("request_", "path"), ABOVE_ZERO, ids=[path for _, path in ABOVE_ZERO])
@pytest.mark.parametrize("text", ["0", "-0", "0.000", "-0.000000000000000001"])
def test_what_has_to_be_above_zero_is_told_where_it_is_not(
    request_: Json, path: str, text: str
) -> None:
    assert _fields(_changed(request_, path, text)) == [path]


ONE_VIOLATION = {
    "no liquidation_id": (HIGH, "terms.liquidation_id", 0,
                          ["terms.liquidation_id", "terms.liquidation_id"]),
    "a negative liquidation_id": (HIGH, "liquidation.liquidation_id", -5,
                                  ["liquidation.liquidation_id", "terms.liquidation_id"]),
    "ids of two liquidations": (LOW, "terms.liquidation_id", 9, ["terms.liquidation_id"]),
    "no liquidator": (HIGH, "terms.liquidator_id", "", ["terms.liquidator_id"]),
    "a long liquidator": (HIGH, "terms.liquidator_id", "x" * 129, ["terms.liquidator_id"]),
    "a liquidator with an accent": (HIGH, "terms.liquidator_id", "café", ["terms.liquidator_id"]),
    "a liquidator with a newline": (HIGH, "terms.liquidator_id", "a\n", ["terms.liquidator_id"]),
    "no symbols and no ratio": (HIGH, "terms.symbols", [], ["terms.ratio_qty_request"]),
    "symbols beside a ratio": (HIGH, "terms.ratio_qty_request", "1", ["terms.ratio_qty_request"]),
    "a symbol without name": (HIGH, "terms.symbols[1].symbol", "", ["terms.symbols[1].symbol"]),
    "a symbol twice": (HIGH, "terms.symbols[1].symbol", "PERP_SOL_USDC", ["terms.symbols"]),
    "a limit that is no number": (LOW, "terms.limit_price", {"PERP_BTC_USDC": "x"},
                                  ["terms.limit_price"]),
    "a limit that is empty": (LOW, "terms.limit_price", {"PERP_BTC_USDC": ""},
                              ["terms.limit_price"]),
    "a limit for no symbol": (LOW, "terms.limit_price", {"": "1"}, ["terms.limit_price"]),
    "257 limits": (LOW, "terms.limit_price", {f"S{n}": "1" for n in range(257)},
                   ["terms.limit_price"]),
    "no account": (LOW, "liquidation.account_id", "", ["liquidation.account_id"]),
    "no tier": (LOW, "liquidation.tier", "TIER_UNSPECIFIED", ["liquidation.tier"]),
    "a tier of the future": (LOW, "liquidation.tier", 3, ["liquidation.tier"]),
    "revision zero": (LOW, "liquidation.revision", 0, ["liquidation.revision"]),
    "a negative revision": (LOW, "liquidation.revision", -(2**63), ["liquidation.revision"]),
    "no position": (HIGH, "liquidation.positions", [], ["liquidation.positions"]),
    "a position twice": (LOW, "liquidation.positions[1].symbol", "PERP_BTC_USDC",
                         ["liquidation.positions"]),
    "a position without name": (LOW, "liquidation.positions[1].symbol", "",
                                ["liquidation.positions[1].symbol"]),
    "a quantity of zero": (LOW, "liquidation.positions[0].position_qty", "-0.0",
                           ["liquidation.positions[0].position_qty"]),
    "a ratio beside an account": (WITH_ACCOUNT, "liquidation.margin_ratio", "0.1",
                                  ["liquidation.margin_ratio"]),
    "an MMR beside an account": (WITH_ACCOUNT, "liquidation.maintenance_margin_ratio", "0.1",
                                 ["liquidation.maintenance_margin_ratio"]),
    "an account without positions": (WITH_ACCOUNT, "liquidation.account.positions", [],
                                     ["liquidation.account.positions"]),
    "an account of zeros": (WITH_ACCOUNT, "liquidation.account.positions[0].position_qty", "0",
                            ["liquidation.account.positions"]),
    "a negative factor": (WITH_ACCOUNT, "liquidation.account.positions[0].imr_factor",
                          "-0.000000000000000001",
                          ["liquidation.account.positions[0].imr_factor"]),
    "the account of another": (LOW, "liquidator.liquidator_id", "liquidator-2",
                               ["liquidator.liquidator_id"]),
    "the account of nobody": (LOW, "liquidator.liquidator_id", "",
                              ["liquidator.liquidator_id", "liquidator.liquidator_id"]),
    "a liquidator without account": (LOW, "liquidator", {"liquidator_id": "liquidator-1"},
                                     ["liquidator.account"]),
    "a margin position twice": (LOW, "liquidator.account.positions[1].symbol", "PERP_BTC_USDC",
                                ["liquidator.account.positions"]),
    "257 margin positions": (LOW, "liquidator.account.positions",
                             [samples.margin_position(f"S{n}") for n in range(257)],
                             ["liquidator.account.positions"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "path", "value", "fields"), ONE_VIOLATION.values(), ids=ONE_VIOLATION.keys()
)
def test_a_violation_is_told_by_the_field_it_is_in(
    request_: Json, path: str, value: Any, fields: list[str]
) -> None:
    assert _fields(_changed(request_, path, value)) == fields


def test_a_request_of_nothing_is_told_what_it_lacks() -> None:
    assert _fields({}) == [
        "terms.liquidation_id",
        "terms.liquidator_id",
        "terms.ratio_qty_request",
    ]


def test_an_empty_snapshot_is_told_what_it_lacks() -> None:
    assert [field for field in _fields({"liquidation": {}}) if field.startswith("liq")] == [
        "liquidation.liquidation_id",
        "liquidation.account_id",
        "liquidation.tier",
        "liquidation.revision",
        "liquidation.positions",
    ]


def test_no_more_than_eight_violations_are_told() -> None:
    positions = [{"symbol": f"S{index}", "position_qty": "x"} for index in range(256)]

    assert len(_fields(samples.low_request(liquidation={"positions": positions}))) == 8


def test_a_violation_never_repeats_what_the_caller_sent() -> None:
    secret = "s3cr3t" * 100
    request = samples.high_request({"liquidator_id": secret, "limit_price": {secret: secret}})

    for violation in request_of(request).violations:
        assert "s3cr3t" not in violation.field + violation.description


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (0, -1),
        (0, 1_000_000_000),
        (2**63 - 1, 0),
        (-(2**63), 2**31 - 1),
    ],
)
def test_a_time_outside_of_the_calendar_is_told(seconds: int, nanos: int) -> None:
    message = samples.check(LOW)
    message.liquidation.snapshot_time.seconds = seconds
    message.liquidation.snapshot_time.nanos = nanos

    assert [violation.field for violation in parse_request(message).violations] == [
        "liquidation.snapshot_time"
    ]


def test_a_sound_request_is_parsed_in_full() -> None:
    parsed = request_of(LOW)

    assert parsed.violations == ()
    assert parsed.terms is not None
    assert parsed.snapshot is not None
    assert parsed.liquidator is not None
    assert (parsed.terms.liquidation_id, parsed.terms.liquidator_id) == (101, "liquidator-1")
    assert plain(parsed.terms.limit_price["PERP_BTC_USDC"]) == "50000"
    assert parsed.snapshot.tier is Tier.LOW
    assert plain(parsed.snapshot.positions[1].position_qty) == "-4"
    assert [each.symbol for each in parsed.liquidator.account.positions] == [
        "PERP_BTC_USDC",
        "PERP_ETH_USDC",
    ]


def test_a_request_of_which_nothing_is_parsed_holds_only_why() -> None:
    violation = FieldViolation("request", "is not a message")

    assert unreadable() == ClaimRequest()
    assert unreadable(violation) == ClaimRequest(violations=(violation,))
    assert unreadable(unknown_fields=("17",)) == ClaimRequest(unknown_fields=("17",))
    assert unreadable().explain is False


def test_what_stands_beside_the_terms_is_kept_with_the_request() -> None:
    message = samples.check(LOW)

    parsed = parse_request(message, ("terms.625",), explain=True)
    refused = parse_request(samples.check({}), ("terms.625",), explain=True)

    assert parsed.terms is not None
    assert (parsed.unknown_fields, parsed.explain) == (("terms.625",), True)
    assert (refused.unknown_fields, refused.explain) == (("terms.625",), True)


def test_violations_that_were_found_before_come_first_and_leave_nothing_to_be_used() -> None:
    before = FieldViolation("request_id", "is required")

    sound = parse_request(samples.check(LOW), (), (before,))
    both = parse_request(samples.check(samples.low_request({"liquidator_id": ""})), (), (before,))

    assert sound == ClaimRequest(violations=(before,))
    assert [each.field for each in both.violations] == ["request_id", "terms.liquidator_id"]


def test_an_absent_extra_ratio_is_zero() -> None:
    terms = request_of(samples.low_request()).terms

    assert terms is not None
    assert terms.extra_liquidation_ratio == 0


def test_a_snapshot_alone_is_parsed_with_its_own_path() -> None:
    message = samples.snapshot(samples.low(revision=0, account_id=""))
    violations = parse_liquidation(message, "requests[3].liquidation")

    assert not isinstance(violations, Liquidation)
    assert [violation.field for violation in violations] == [
        "requests[3].liquidation.account_id",
        "requests[3].liquidation.revision",
    ]


ANY_TEXT = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("0123456789.-"), max_size=40),
    st.text("x", min_size=129, max_size=129),
)
TEXT_PATHS = [
    *DECIMALS,
    *((LOW, path) for path in (
        "terms.liquidator_id",
        "liquidation.account_id",
        "liquidation.positions[0].symbol",
        "liquidator.liquidator_id",
        "liquidator.account.positions[0].symbol",
    )),
    (HIGH, "terms.symbols[0].symbol"),
]  # fmt: skip


@seeded(400)
@given(st.sampled_from(TEXT_PATHS), ANY_TEXT)
def test_any_text_in_any_field_is_parsed_or_told_and_never_an_error(
    place: tuple[Json, str], text: str
) -> None:
    request, path = place
    parsed = request_of(_changed(request, path, text))

    assert (parsed.terms is None) is bool(parsed.violations)
    for violation in parsed.violations:
        # A liquidator's id is compared with that of the terms, and a symbol with the others.
        assert path.startswith(violation.field) or violation.field.endswith("liquidator_id")
