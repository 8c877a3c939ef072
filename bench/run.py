"""The service against servers that do nothing, its release before, and what one could use instead.

python -m bench.run [--quick | --only GROUP …] [--rounds N] [--seconds S] [--json FILE]
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import handler, memory, table
from bench.bars import BARS, GROUPS, QUICK, SLOW_TO_BUILD, Bar, Fact
from bench.builds import UnavailableError
from bench.databases import require_postgres, started
from bench.load import require_clients
from bench.rounds import Cell, Measured, measure
from bench.scenarios import verify
from bench.servers import SERVERS, Running, running

__all__ = ["available", "compare", "main"]


def available(groups: Mapping[str, Sequence[Cell]]) -> tuple[dict[str, list[Cell]], list[str]]:
    """The cells whose servers can be had here, and one line for each server that cannot."""
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(cell.server for cells in groups.values() for cell in cells):
        try:
            SERVERS[name].command()
            if SERVERS[name].engine not in ("", "sqlite"):
                require_postgres()
        except UnavailableError as error:
            skipped[name] = str(error)
    kept = {
        title: [cell for cell in cells if cell.server not in skipped]
        for title, cells in groups.items()
    }
    return (
        {title: cells for title, cells in kept.items() if any(not cell.again for cell in cells)},
        [f"Skipped: {name}: {reason}." for name, reason in skipped.items()],
    )


def compare(
    groups: Mapping[str, Sequence[Cell]], rounds: int, seconds: float, directory: Path
) -> Measured:
    """Measures each group in interleaved rounds, and counts the lines of the decision logs.

    Raises:
        RuntimeError: an answer was not right, or a log's lines are not the calls that were made.
    """
    measured = Measured()
    cells = [cell for group in groups.values() for cell in group]
    names = dict.fromkeys(cell.server for cell in cells)
    with ExitStack() as stack:
        databases = stack.enter_context(started({SERVERS[name].engine for name in names} - {""}))
        servers = {name: stack.enter_context(running(name, directory, databases)) for name in names}
        for cell in dict.fromkeys(Cell(cell.server, cell.scenario, cell.shape) for cell in cells):
            if SERVERS[cell.server].decides:
                verify(servers[cell.server].address, cell.calls)
                measured.asked[cell.server, cell.calls.code] += cell.calls.decisions
        for number, (title, group) in enumerate(groups.items(), 1):
            print(f"{number} of {len(groups)}: {title}", file=sys.stderr)
            measure(measured, servers, group, rounds, seconds, directory)
    for server in servers.values():
        _count_lines(measured, server)
    return measured


def _count_lines(measured: Measured, server: Running) -> None:
    """h2load sees no gRPC status: the log shows what each call was answered."""
    if not server.server.decides:
        return
    with server.log.open("rb") as lines:
        logged = Counter(server.server.code_in(line) for line in lines)
    del logged[None]
    asked = {code: count for (name, code), count in measured.asked.items() if name == server.name}
    if logged != asked:
        raise RuntimeError(f"{server.name} logged {dict(logged)} decisions by code, not {asked}")


def _facts(measured: Measured, bars: Iterable[Bar], directory: Path, *, full: bool) -> list[Fact]:
    facts = [bar.read(measured) for bar in bars]
    return [*facts, handler.compare(), memory.at_rest(directory)] if full else facts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="the groups for calls and claims alone")
    which.add_argument("--only", action="append", choices=GROUPS, help="a group (repeatable)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each cell")
    parser.add_argument("--seconds", type=float, help="about how long a round takes")
    parser.add_argument("--json", type=Path, help="a file for all rounds")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> dict[str, tuple[Cell, ...]]:
    if arguments.quick:
        return {
            name: tuple(cell for cell in GROUPS[name] if cell.server not in SLOW_TO_BUILD)
            for name in QUICK
        }
    return {name: GROUPS[name] for name in arguments.only or GROUPS}


def main() -> None:
    """Measures, and prints the tables."""
    arguments = _arguments()
    # This process calls gRPC and starts processes; it does not fork.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    try:
        require_clients()
    except UnavailableError as error:
        sys.exit(f"bench: {error}")
    chosen = _chosen(arguments)
    groups, skipped = available(chosen)
    full = not arguments.quick and not arguments.only
    seconds = arguments.seconds or (0.3 if arguments.quick else 0.6)
    with tempfile.TemporaryDirectory() as name:
        measured = compare(groups, arguments.rounds, seconds, Path(name))
        wanted = {cell for cells in chosen.values() for cell in cells}
        bars = [bar for bar in BARS if {bar.cell, bar.against} <= wanted]
        facts = _facts(measured, bars, Path(name, "rest"), full=full)
    print(table.machine(), *skipped, "", sep="\n")
    print(*table.bars(facts), "", *table.groups(measured), sep="\n")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(table.as_json(measured, facts), indent=2) + "\n")


if __name__ == "__main__":
    main()
