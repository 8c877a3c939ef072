"""What was asked, and what was answered: a run that never meets a rule shows nothing of it."""

from collections import Counter
from dataclasses import dataclass, field

from tests.attacks.oracle.answers import Answer
from tests.attacks.oracle.cases import Case
from tests.attacks.oracle.evaluator import RULES
from tests.attacks.oracle.worlds import RELAXABLE


@dataclass
class Tally:
    """Counts of requests, by the way they were asked and by what they were answered."""

    cases: int = 0
    begins: int = 0
    lines: int = 0
    worlds: int = 0
    symbols: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)

    def note(self, case: Case, expected: Answer) -> None:
        self.cases += 1
        self.rules[expected.rule or "accepted"] += 1
        self.outcomes.update((rule, outcome) for rule, outcome, _, _ in expected.trace)
        if expected.rule != "well_formed":
            liquidation = case.request.get("liquidation", {})
            self.symbols = max(self.symbols, len(liquidation.get("positions", ())))

    def rules_never_met(self, least: int = 3) -> list[str]:
        """Rules that refused less than `least` times: nothing was shown of them."""
        return [rule for rule in ("accepted", *RULES) if self.rules[rule] < least]

    def outcomes_never_met(self, least: int = 3) -> list[str]:
        """Outcomes of a rule that an explained decision told less than `least` times."""
        outcomes = [(rule, each) for rule in RULES for each in ("PASSED", "REFUSED")]
        outcomes += [(rule, "SKIPPED") for rule in RULES if rule != "well_formed"]
        outcomes += [(rule, "SHADOW_REFUSED") for rule in RELAXABLE]
        return [" ".join(each) for each in outcomes if self.outcomes[each] < least]

    def told_outcomes(self) -> dict[str, dict[str, int]]:
        """How often each rule had which outcome, where decisions were explained."""
        return {
            rule: {each: times for (of, each), times in self.outcomes.items() if of == rule}
            for rule in RULES
        }
