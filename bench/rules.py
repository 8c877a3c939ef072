"""Rules 3 to 13 alone, in process, against the same checks written by hand as bare `Decimal` ifs.

Two spans of the service's rules are timed against one run of `bare_rules`: `decide`, from a case to
its verdict with all its numbers and claimed positions, and `assemble and decide`, which also looks
up the claimed positions and adds up their notional, as the bare checks do. The bare checks give a
code and nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import Any, Final, NamedTuple

from bench.baselines.bare_rules import bare_rules
from liquidation.rules.evaluate import assemble, decide
from liquidation.rules.intake import Intake
from liquidation.rules.model import (
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
from liquidation.rules.numbers import EXACT, ZERO
from liquidation.rules.policy import Policy

__all__ = ["QUESTIONS", "Question", "bare_code", "code", "compare"]

_POLICY: Final = Policy()


class Question(NamedTuple):
    """One request as read, and what is stored about it."""

    intake: Intake
    state: StoredState


def code(question: Question) -> int:
    """The code that the service's rules give, 0 for accepted."""
    refusal = decide(assemble(_POLICY, question.intake, question.state)).refusal
    return 0 if refusal is None else refusal.row.code


def bare_code(question: Question) -> int:
    """The code that the bare checks give; to be asked for where `EXACT` is the context."""
    terms = question.intake.terms
    assert terms is not None
    liquidator, thresholds = question.intake.liquidator, _POLICY.min_claim_notional
    return bare_rules(terms, liquidator, question.state, thresholds)


def _positions(count: int) -> tuple[Position, ...]:
    quantity, price = Decimal("0.5"), Decimal("40000.25")
    return tuple(Position(f"PERP_{number}_USDC", quantity, price) for number in range(count))


def _question(tier: Tier, positions: int, ratio: str, liquidator: Liquidator | None) -> Question:
    listed = _positions(positions)
    liquidation = Liquidation(
        101, "account-1", tier, listed, Decimal("0.008"), Decimal("0.012"), revision=7
    )
    asked = Decimal(ratio)
    if tier is Tier.LOW:
        terms = Terms(101, "liquidator-1", asked, ZERO)
    else:
        named = tuple(SymbolRatio(position.symbol, asked) for position in listed)
        terms = Terms(101, "liquidator-1", None, ZERO, named)
    return Question(Intake(terms, None, liquidator), StoredState(liquidation))


_LIQUIDATOR: Final = Liquidator(
    "liquidator-1",
    MarginAccount(
        Decimal(1_000_000),
        tuple(
            MarginPosition(
                position.symbol,
                position.position_qty,
                position.mark_price,
                None,
                Decimal("0.1"),
                Decimal("0.0000002"),
            )
            for position in _positions(1)
        ),
        Decimal(10),
    ),
)

# Each with the code that both give.
QUESTIONS: Final[Mapping[str, tuple[Question, int]]] = {
    "LOW, one position, accepted": (_question(Tier.LOW, 1, "1", None), 0),
    "LOW, ten positions, accepted": (_question(Tier.LOW, 10, "1", None), 0),
    "HIGH, three symbols, accepted": (_question(Tier.HIGH, 3, "1", None), 0),
    "LOW, one position, refused -1201": (_question(Tier.LOW, 1, "0.3333", None), -1201),
    "LOW, liquidator account, accepted": (_question(Tier.LOW, 1, "1", _LIQUIDATOR), 0),
}


def _seconds(ask: Callable[[], object], calls: int) -> float:
    before = time.process_time_ns()
    for _ in range(calls):
        ask()
    return (time.process_time_ns() - before) / calls / 1e9


def compare(question: Question, rounds: int, calls: int) -> dict[str, Any]:
    """CPU times in microseconds, medians of interleaved rounds, and their ratios to the bare's."""
    case = assemble(_POLICY, question.intake, question.state)
    contestants: dict[str, Callable[[], object]] = {
        "bare": lambda: bare_code(question),
        "decide": lambda: decide(case),
        "assemble and decide": lambda: code(question),
        "bare again": lambda: bare_code(question),
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    with localcontext(EXACT):
        for _ in range(rounds):
            for name, ask in contestants.items():
                taken[name].append(_seconds(ask, calls))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    return {f"{name}_us": round(each * 1e6, 2) for name, each in medians.items()} | {
        f"{name} / bare": round(each / medians["bare"], 2)
        for name, each in medians.items()
        if name != "bare"
    }


def main() -> None:
    """Measures and prints the figures as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5_000)
    told = parser.parse_args()
    figures = {
        name: compare(question, told.rounds, told.calls)
        for name, (question, _) in QUESTIONS.items()
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
