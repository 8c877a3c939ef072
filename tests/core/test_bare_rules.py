"""The baseline of the rules' benchmark decides what the rules decide, or it would prove nothing."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rules import QUESTIONS, Question, bare_code, code, compare
from liquidation.rules.intake import Intake
from liquidation.rules.model import (
    ActiveClaim,
    Liquidation,
    Liquidator,
    MarginAccount,
    MarginPosition,
    Position,
    StoredState,
    SymbolRatio,
    Terms,
    Tier,
)
from liquidation.rules.numbers import EXACT

SYMBOLS = ("BTC", "ETH", "SOL")


def _numbers(*texts: str) -> st.SearchStrategy[Decimal]:
    return st.sampled_from([Decimal(text) for text in texts])


QUANTITIES = _numbers("0.1", "0.25", "-0.5", "1", "-2")
# The last has more digits than the default context keeps.
PRICES = _numbers("20000", "40000", "10000", "40000.000000000000000001")
RATIOS = st.one_of(_numbers("1"), _numbers("0", "0.5", "0.9999", "1.0", "-0.5", "1.5"))
# Most cases are to get as far as the last rules.
EXTRAS = st.one_of(_numbers("0"), _numbers("0", "0.5", "1", "1.1", "-0.1"))
MARGIN_RATIOS = st.one_of(_numbers("0.01"), _numbers("0.01", "0.02", "0.03"))
NAMED = st.lists(st.sampled_from([*SYMBOLS, "DOGE"]), min_size=1, max_size=3, unique=True)


def _some_of(symbols: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(symbols), min_size=1, max_size=3, unique=True)


@st.composite
def _terms(draw: st.DrawFn, tier: Tier) -> Terms:
    fitting = draw(st.integers(0, 5)) > 0
    ratio = draw(RATIOS)
    named: tuple[SymbolRatio, ...] = ()
    if (tier is Tier.HIGH) is fitting:
        named = tuple(SymbolRatio(symbol, draw(RATIOS)) for symbol in draw(NAMED))
    limits = draw(st.dictionaries(st.sampled_from(SYMBOLS), PRICES, max_size=1))
    claimant = draw(st.sampled_from(["liquidator"] * 5 + ["account"]))
    return Terms(1, claimant, None if named else ratio, draw(EXTRAS), named, limits)


@st.composite
def _liquidators(draw: st.DrawFn) -> Liquidator:
    positions = tuple(
        MarginPosition(
            symbol, draw(QUANTITIES), draw(PRICES), None, Decimal("0.1"), Decimal("0.0001")
        )
        for symbol in draw(_some_of(SYMBOLS))
    )
    collateral = draw(_numbers("1000", "100000", "10000000"))
    return Liquidator("liquidator", MarginAccount(collateral, positions, draw(_numbers("3", "20"))))


@st.composite
def _questions(draw: st.DrawFn) -> Question:
    tier = draw(st.sampled_from(Tier))
    positions = tuple(
        Position(symbol, draw(QUANTITIES), draw(PRICES)) for symbol in draw(_some_of(SYMBOLS))
    )
    liquidation = Liquidation(
        1, "account", tier, positions, draw(MARGIN_RATIOS), Decimal("0.02"), revision=5
    )
    seldom = st.integers(0, 9).map(lambda number: number == 0)
    state = StoredState(
        None if draw(seldom) else liquidation,
        closed=draw(seldom),
        liquidator_in_liquidation=draw(seldom),
        active_claim=ActiveClaim("claim-1", Decimal(3)) if draw(seldom) else None,
        last_completed_revision=draw(st.sampled_from([None, None, 4, 5])),
    )
    liquidator = draw(st.one_of(st.none(), _liquidators()))
    return Question(Intake(draw(_terms(tier)), None, liquidator), state)


@settings(max_examples=300)
@given(_questions())
def test_the_bare_checks_give_the_code_that_the_rules_give(question: Question) -> None:
    with localcontext(EXACT):
        assert bare_code(question) == code(question)


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_timed_ends_as_its_name_says(name: str) -> None:
    question, expected = QUESTIONS[name]

    with localcontext(EXACT):
        assert bare_code(question) == code(question) == expected


def test_the_rules_are_compared_with_the_bare_checks_and_these_with_themselves() -> None:
    question, _ = next(iter(QUESTIONS.values()))

    figures = compare(question, rounds=1, calls=20)

    assert {name for name in figures if "/" in name} == {
        "decide / bare",
        "assemble and decide / bare",
        "bare again / bare",
    }
