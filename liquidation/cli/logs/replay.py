"""`liquidation logs replay`: what was decided, decided again."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from liquidation.analysis.reader import Reader
from liquidation.analysis.redecide import RulesInForce
from liquidation.analysis.replay import Flip, Replay
from liquidation.cli.logs import entries, is_stream, logs_argument
from liquidation.cli.options import Cell, format_option, policy_of, screen, write_json

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

_FLIPPED: Final = 3
# Disagreements and failures that are shown; the JSON form has more.
_SHOWN: Final = 20
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Decide what was logged again, under its own and under other rules.")
@logs_argument
@click.option("--rules", type=_FILE, help="A candidate: the rules.toml to decide under, too.")
@click.option(
    "--own-rules",
    type=_FILE,
    help="The rules.toml that was in force, of processes whose log does not tell it.",
)
@click.option("--fail-on-flip", is_flag=True, help="Exit status 3 where a decision flips.")
@click.option(
    "--examples",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="How many flips are shown one by one.",
)
@format_option("json", help_="For people, or for programs: one JSON object.")
def replay(
    *,
    paths: tuple[Path, ...],
    rules: Path | None,
    own_rules: Path | None,
    fail_on_flip: bool,
    examples: int,
    form: str,
) -> None:
    """Decide what was logged again, under its own and under other rules.

    Under the rules that it was made with every decision has to come out as it was logged, to the
    last word. With --rules it is also told which would come out with another code: they flip.

    \b
    Examples:
      liquidation logs replay decisions.log
      liquidation logs replay decisions.log --rules candidate.toml --fail-on-flip

    \b
    Exit status:
      0  every decision came out as it was logged
      1  one did not, or a line could not be replayed
      2  the command was not used as it is meant to be
      3  with --fail-on-flip: all did, and under the candidate some flip
    """
    if fail_on_flip and rules is None:
        raise click.UsageError("--fail-on-flip is about a candidate: it needs --rules")
    on = None if form == "json" else screen()
    in_force = RulesInForce(None if own_rules is None else policy_of(own_rules))
    replayed = Replay(in_force, None if rules is None else policy_of(rules), examples)
    broken = _replay(paths, replayed)
    record = replayed.record(broken)
    if on is None:
        write_json(record)
    else:
        _write_replay(on, record)
    if not replayed.agrees or broken:
        sys.exit(1)
    if fail_on_flip and replayed.flips.lines:
        sys.exit(_FLIPPED)


def _replay(paths: tuple[Path, ...], replayed: Replay) -> int:
    """Reads all twice: rules are told behind the first decisions, or in a file given later."""
    if not any(map(is_stream, paths)):
        for entry in Reader(paths):
            replayed.rules.expect(entry)
    reader = Reader(
        paths, lambda broken: click.echo(f"{broken.source}: {broken.problem}", err=True)
    )
    for entry in entries(reader, paths):
        replayed.add(entry)
    return reader.broken


def _write_replay(on: "Screen", record: Mapping[str, Any]) -> None:
    """The summary, what disagrees, and what a candidate would change."""
    red = "red" if record["disagreed"] else ""
    rows: list[tuple[Cell, Cell]] = [
        ("agree to the last word", (f"{record['agreed']:,}", "green")),
        ("disagree", (f"{record['disagreed']:,}", red)),
    ]
    for reason, count in record["failed"].items():
        rows.append(((f"could not be replayed: {reason}", "red"), (f"{count:,}", "red")))
    for reason, count in record["left_out"].items():
        rows.append((f"left out: {reason}", f"{count:,}"))
    total = ("in all", f"{record['decisions']:,}")
    on.table(("under the rules of then", ">decisions"), rows, total=total)
    if record["differences"]:
        on.line(" Under the rules of then these come out differently", "bold red")
        on.table(
            ("line", "decision_id", "key", "logged", "decided"),
            map(astuple, record["differences"][:_SHOWN]),
        )
    for problem in record["failures"][:_SHOWN]:
        on.line(f" {problem}", "red")
    if record["candidate"] is not None:
        _write_candidate(on, record["candidate"])


def _write_candidate(on: "Screen", candidate: Mapping[str, Any]) -> None:
    on.line(f" Under the rules {candidate['rules_version']}", "bold")
    rows = []
    for title, key in (
        ("flip", "flips"),
        ("accepted before, refused now", "accepted_to_refused"),
        ("refused before, accepted now", "refused_to_accepted"),
    ):
        flips = candidate[key]
        rows.append((title, f"{flips['count']:,}", _grouped(flips["total_notional"])))
    rows.append(("same code, other words", f"{candidate['same_code_other_words']:,}", ""))
    on.table(("", ">decisions", ">notional, USDC"), rows)
    _write_matrix(on, candidate["matrix"])
    if candidate["flips"]["count"]:
        _write_names(on, "account", candidate["accounts"])
        _write_names(on, "liquidator", candidate["liquidators"])
        on.table(
            ("line", "liquidation", "liquidator", "notional, USDC", "logged", "now"),
            map(_flip_row, candidate["examples"]),
        )


def _flip_row(flip: Flip) -> tuple[str, ...]:
    return (
        flip.source,
        flip.liquidation_id,
        flip.liquidator_id,
        _grouped(flip.total_notional),
        f"{_code(flip.code)} {flip.message}".strip(),
        f"{_code(flip.candidate_code)} {flip.candidate_message}".strip(),
    )


def _write_matrix(on: "Screen", matrix: Iterable[Mapping[str, int]]) -> None:
    """From which code (a row) to which (a column)."""
    counts = {(each["from"], each["to"]): each["count"] for each in matrix}
    befores = sorted({before for before, _ in counts}, reverse=True)
    afters = sorted({after for _, after in counts}, reverse=True)
    rows: list[list[Cell]] = []
    for before in befores:
        row: list[Cell] = [_code(before)]
        for after in afters:
            count = counts.get((before, after))
            style = "dim" if before == after else "bold yellow"
            row.append(("" if count is None else f"{count:,}", style))
        rows.append(row)
    on.table(("logged \\ now", *(f">{_code(after)}" for after in afters)), rows)


def _write_names(on: "Screen", kind: str, names: Iterable[Mapping[str, Any]]) -> None:
    on.table(
        (kind, ">flips", ">refused now", ">notional, USDC"),
        (
            (
                each["id"],
                f"{each['flips']:,}",
                f"{each['now_refused']:,}",
                _grouped(each["total_notional"]),
            )
            for each in names
        ),
    )


def _code(code: int) -> str:
    return "accepted" if code == 0 else str(code)


def _grouped(amount: str) -> str:
    """An exact amount, with separators of thousands."""
    whole, point, decimals = amount.partition(".")
    return f"{int(whole):,}{point}{decimals}"
