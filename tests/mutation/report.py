"""The table of a run, and what is wrong with it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.mutation.mutants import Identity
from tests.mutation.survivors import Explained
from tests.mutation.trees import Outcome

__all__ = ["Results", "Row", "faults", "lines", "rows"]

Results = Mapping[Identity, Outcome]


@dataclass
class Row:
    """What became of the mutants of a module."""

    module: str
    killed: int = 0
    timeout: int = 0
    survived: list[Identity] = field(default_factory=list)
    explained: int = 0

    @property
    def mutants(self) -> int:
        return self.killed + self.timeout + len(self.survived)

    @property
    def rate(self) -> float:
        """The share, in percent, of those that were noticed; what is explained was not."""
        return 100 * (self.killed + self.timeout) / self.mutants if self.mutants else 100.0


def rows(results: Results, explained: Explained) -> list[Row]:
    """One row a module, by name."""
    found: defaultdict[str, Row] = defaultdict(lambda: Row(""))
    for identity, outcome in results.items():
        row = found[identity.module]
        row.module = identity.module
        if outcome.outcome == "survived":
            row.survived.append(identity)
            row.explained += identity in explained.reasons
        elif outcome.outcome == "timeout":
            row.timeout += 1
        else:
            row.killed += 1
    return [found[module] for module in sorted(found)]


def total(name: str, each: Iterable[Row]) -> Row:
    """All rows as one."""
    whole = Row(name)
    for row in each:
        whole.killed += row.killed
        whole.timeout += row.timeout
        whole.survived += row.survived
        whole.explained += row.explained
    return whole


def lines(found: list[Row], name: str) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| module | mutants | killed | timeout | survived | explained | rate |"
    yield "|---|---|---|---|---|---|---|"
    for row in [*found, total(name, found)]:
        yield (
            f"| {row.module} | {row.mutants} | {row.killed} | {row.timeout} "
            f"| {len(row.survived)} | {row.explained} | {row.rate:.1f} % |"
        )


def faults(results: Results, explained: Explained, at_least: float) -> Iterator[str]:
    """What makes a run fail: nobody explained a survivor, or too few mutants were killed.

    A reason for a mutant that is not there any more is a fault too: it explains nothing.
    """
    found = rows(results, explained)
    for row in found:
        for identity in row.survived:
            if identity not in explained.reasons:
                yield f"survived: {identity.module} {identity.function}\n{identity.change}"
        for identity in sorted(explained.of(row.module) - results.keys()):
            yield f"explained, but no mutant: {identity.function}\n{identity.change}"
    if (whole := total("", found)).rate < at_least:
        yield f"{whole.rate:.1f} % were killed, less than {at_least} %"
