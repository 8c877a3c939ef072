"""What came of a replay, as tables. Needs rich."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from liquidation.cli.drawing import a_console, a_table, cell

__all__ = ["write_replay"]

# Disagreements and failures that are shown; the JSON form has more.
_SHOWN = 20


def write_replay(record: Mapping[str, Any]) -> None:
    """The summary, what disagrees, and what a candidate would change."""
    console = a_console()
    _write_summary(console, record)
    if record["differences"]:
        console.print(cell(" Under the rules of then these come out differently", "bold red"))
        _write_rows(
            console,
            ("line", "decision_id", "key", "logged", "decided"),
            (
                (each["source"], each["decision_id"], each["key"], each["logged"], each["decided"])
                for each in record["differences"][:_SHOWN]
            ),
        )
    for problem in record["failures"][:_SHOWN]:
        console.print(cell(f" {problem}", "red"))
    if record["candidate"] is not None:
        _write_candidate(console, record["candidate"])


def _write_summary(console: Console, record: Mapping[str, Any]) -> None:
    table = a_table("under the rules of then", "decisions")
    table.columns[1].justify = "right"
    disagreed = "red" if record["disagreed"] else ""
    table.add_row("agree to the last word", cell(f"{record['agreed']:,}", "green"))
    table.add_row("disagree", cell(f"{record['disagreed']:,}", disagreed))
    for reason, count in record["failed"].items():
        table.add_row(cell(f"could not be replayed: {reason}", "red"), cell(f"{count:,}", "red"))
    for reason, count in record["left_out"].items():
        table.add_row(cell(f"left out: {reason}"), cell(f"{count:,}"))
    table.add_section()
    table.add_row("in all", cell(f"{record['decisions']:,}"))
    console.print(table)


def _write_candidate(console: Console, candidate: Mapping[str, Any]) -> None:
    console.print(cell(f" Under the rules {candidate['rules_version']}", "bold"))
    table = a_table("", "decisions", "notional, USDC")
    table.columns[1].justify = table.columns[2].justify = "right"
    for title, key in (
        ("flip", "flips"),
        ("accepted before, refused now", "accepted_to_refused"),
        ("refused before, accepted now", "refused_to_accepted"),
    ):
        flips = candidate[key]
        table.add_row(title, cell(f"{flips['count']:,}"), cell(_grouped(flips["total_notional"])))
    table.add_row("same code, other words", cell(f"{candidate['same_code_other_words']:,}"), "")
    console.print(table)
    _write_matrix(console, candidate["matrix"])
    if candidate["flips"]["count"]:
        _write_names(console, "account", candidate["accounts"])
        _write_names(console, "liquidator", candidate["liquidators"])
        _write_examples(console, candidate["examples"])


def _write_matrix(console: Console, matrix: Iterable[Mapping[str, int]]) -> None:
    """From which code (a row) to which (a column)."""
    counts = {(each["from"], each["to"]): each["count"] for each in matrix}
    befores = sorted({before for before, _ in counts}, reverse=True)
    afters = sorted({after for _, after in counts}, reverse=True)
    table = a_table("logged \\ now", *(_code(after) for after in afters))
    for column in table.columns[1:]:
        column.justify = "right"
    for before in befores:
        cells = (
            cell(
                f"{counts[before, after]:,}" if (before, after) in counts else "",
                "dim" if before == after else "bold yellow",
            )
            for after in afters
        )
        table.add_row(cell(_code(before)), *cells)
    console.print(table)


def _write_names(console: Console, kind: str, names: Iterable[Mapping[str, Any]]) -> None:
    table = a_table(kind, "flips", "refused now", "notional, USDC")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in names:
        table.add_row(
            cell(each["id"]),
            cell(f"{each['flips']:,}"),
            cell(f"{each['now_refused']:,}"),
            cell(_grouped(each["total_notional"])),
        )
    console.print(table)


def _write_examples(console: Console, examples: Iterable[Mapping[str, Any]]) -> None:
    _write_rows(
        console,
        ("line", "liquidation", "liquidator", "notional, USDC", "logged", "now"),
        (
            (
                each["source"],
                each["liquidation_id"],
                each["liquidator_id"],
                _grouped(each["total_notional"]),
                f"{_code(each['code'])} {each['message']}".strip(),
                f"{_code(each['candidate_code'])} {each['candidate_message']}".strip(),
            )
            for each in examples
        ),
    )


def _write_rows(console: Console, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = a_table(*head)
    for row in rows:
        table.add_row(*map(cell, row))
    if table.row_count:
        console.print(table)


def _code(code: int) -> str:
    return "accepted" if code == 0 else str(code)


def _grouped(amount: str) -> str:
    """An exact amount, with separators of thousands."""
    whole, point, decimals = amount.partition(".")
    return f"{int(whole):,}{point}{decimals}"
