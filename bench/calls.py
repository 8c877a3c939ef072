"""Calls of the service against servers that do nothing, and against the service written plainly.

python -m bench.calls [--quick] [--rounds N] [--seconds S] [--memory-calls N] [--json FILE]
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench import memory, rules, table
from bench.bars import BARS, FULL, QUICK, Fact
from bench.clients import told_clients
from bench.contestants import Running, absent, running
from bench.rounds import Cell, Measured, measure
from bench.scenarios import SCENARIOS, put_stored, verify

__all__ = ["answer_in", "compare", "main", "present", "rules_alone"]

# A check, or a claim that was to begin; a lease that ran out has a line without an RPC.
_ANSWERED: Final = re.compile(
    rb'(?=.*"event": ?"(?:decision|claim)")(?=.*"rpc": ?"\w)(?=.*?"code": ?(-?\d+))'
)


def compare(
    groups: Sequence[Sequence[Cell]], rounds: int, seconds: float, directory: Path
) -> Measured:
    """Measures the cells of each group in turn, and counts the lines of the decision logs.

    RuntimeError: an answer was not right, or a decision has no line.
    """
    measured = Measured()
    wanted = dict.fromkeys(cell.contestant for group in groups for cell in group)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, directory)) for name in wanted}
        for server in servers.values():
            if server.contestant.decides:
                put_stored(server.address)
        for cell in dict.fromkeys(cell for group in groups for cell in group):
            _verify(measured, servers[cell.contestant], cell)
        for number, group in enumerate(groups, 1):
            print(f"{number} of {len(groups)}: {group[0].scenario}", file=sys.stderr)
            measure(measured, servers, group, rounds, seconds, directory)
    for server in servers.values():
        _count_lines(measured, server)
    return measured


def _verify(measured: Measured, server: Running, cell: Cell) -> None:
    if server.contestant.decides:
        scenario = SCENARIOS[cell.scenario]
        verify(server.address, scenario)
        measured.asked[server.name, scenario.code] += scenario.decisions


def answer_in(line: bytes) -> int | None:
    """The code of the decision that a line of a log is of; None where nobody asked for one."""
    found = _ANSWERED.match(line)
    return None if found is None else int(found[1])


def _count_lines(measured: Measured, server: Running) -> None:
    """h2load does not see a gRPC status: what each call was answered is seen in the log."""
    if not server.contestant.decides:
        return
    with server.log.open("rb") as lines:
        told = Counter(answer_in(line) for line in lines)
    del told[None]
    asked = {code: count for (name, code), count in measured.asked.items() if name == server.name}
    if told != asked:
        raise RuntimeError(f"{server.name} logged {dict(told)} decisions by code, not {asked}")


def present(groups: Sequence[Sequence[Cell]]) -> tuple[list[list[Cell]], list[str]]:
    """The cells whose contestants can take part here, and why the others cannot."""
    names = dict.fromkeys(cell.contestant for group in groups for cell in group)
    why = {name: absent(name) for name in names}
    kept = [[cell for cell in group if not why[cell.contestant]] for group in groups]
    return kept, [f"Left out: {name}: {reason}." for name, reason in why.items() if reason]


def rules_alone() -> Fact:
    """The rules in this process against the same checks as bare comparisons; the worst question."""
    ratios = [
        rules.compare(question, rounds=5, calls=1_000)["decide / bare"]
        for question, _ in rules.QUESTIONS.values()
    ]
    bare = "bare `Decimal` ifs"
    return Fact("rules 3-13 alone, worst of five questions", bare, 3, max(ratios), at_most=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the bars alone, in short rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each cell")
    parser.add_argument("--seconds", type=float, help="about how long a round takes")
    parser.add_argument("--memory-calls", type=int, help="calls that are to add no memory")
    parser.add_argument("--json", type=Path, help="a file for all rounds")
    return parser.parse_args()


def _in_short(told: argparse.Namespace) -> tuple[int, float, int]:
    rounds, seconds, calls = (5, 0.3, 0) if told.quick else (5, 0.6, memory.CALLS)
    return (
        rounds if told.rounds is None else told.rounds,
        seconds if told.seconds is None else told.seconds,
        calls if told.memory_calls is None else told.memory_calls,
    )


def main() -> None:
    """Measures, and prints the tables."""
    told = _arguments()
    rounds, seconds, memory_calls = _in_short(told)
    # This process calls gRPC and starts processes; it does not fork.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    groups, left_out = present(QUICK if told.quick else FULL)
    with tempfile.TemporaryDirectory() as name:
        places = [Path(name, place) for place in ("calls", "rest", "growth")]
        for place in places:
            place.mkdir()
        facts = [rules_alone(), memory.at_rest(places[1])]
        if memory_calls:
            facts.append(memory.growth(places[2], memory_calls))
        measured = compare(groups, rounds, seconds, places[0])
    facts = [*(bar.read(measured) for bar in BARS), *facts]
    print(table.machine(), "", told_clients(), *left_out, "", sep="\n")
    print(*table.bars(facts), "", *table.groups(measured), sep="\n")
    if told.json:
        told.json.write_text(json.dumps(table.as_json(measured, facts), indent=2) + "\n")


if __name__ == "__main__":
    main()
