"""`liquidation logs replay`: what was decided, decided again."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click
import orjson

from liquidation.analysis.reader import Reader
from liquidation.analysis.replay import Direction, Flip, Replay, RulesInForce
from liquidation.analysis.tallies import Names
from liquidation.cli.logs.reading import entries, is_stream, logs_argument
from liquidation.cli.options import format_option, policy_of, screen
from liquidation.rules.numbers import plain

__all__ = ["replay"]

# Accounts, and liquidators, that are told as the most affected.
_MOST: Final = 10
_FLIPPED: Final = 3

_file: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Decide what was logged again, under its own and under other rules.")
@logs_argument
@click.option("--rules", type=_file, help="A candidate: the rules.toml to decide under, too.")
@click.option(
    "--own-rules",
    type=_file,
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
    write = _write_json if form == "json" else _screen().write_replay
    in_force = RulesInForce(None if own_rules is None else policy_of(own_rules))
    replayed = Replay(in_force, None if rules is None else policy_of(rules), examples)
    broken = _replay(paths, replayed)
    write(replay_record(replayed, broken))
    if not replayed.sound or broken:
        sys.exit(1)
    if fail_on_flip and replayed.flips.count:
        sys.exit(_FLIPPED)


def _screen() -> ModuleType:
    """The module that draws this command's tables; it needs rich."""
    screen()
    from liquidation.cli.logs import replay_screen  # noqa: PLC0415 - JSON works without rich

    return replay_screen


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


def replay_record(replayed: Replay, broken: int) -> dict[str, Any]:
    """What came of it, as JSON has it; amounts are exact decimals."""
    candidate = replayed.candidate
    return {
        "decisions": replayed.decisions,
        "agreed": replayed.agreed,
        "disagreed": replayed.disagreed,
        "differences": [
            {
                "source": each.source,
                "decision_id": each.decision_id,
                "key": each.key,
                "logged": each.logged,
                "decided": each.decided,
            }
            for each in replayed.differences
        ],
        "left_out": dict(replayed.left_out.most_common()),
        "failed": dict(replayed.failed.most_common())
        | ({"none of the log's lines": broken} if broken else {}),
        "failures": [*replayed.failures, *replayed.rules.unreadable],
        "candidate": None if candidate is None else _candidate_record(replayed, candidate.version),
    }


def _candidate_record(replayed: Replay, version: str) -> dict[str, Any]:
    return {
        "rules_version": version,
        "decided": replayed.compared,
        "flips": _direction(replayed.flips),
        "accepted_to_refused": _direction(replayed.refused_now),
        "refused_to_accepted": _direction(replayed.accepted_now),
        "same_code_other_words": replayed.reworded,
        "matrix": [
            {"from": before, "to": after, "count": count}
            for (before, after), count in sorted(replayed.matrix.items(), reverse=True)
        ],
        "accounts": _names(replayed.accounts),
        "liquidators": _names(replayed.liquidators),
        "examples": [_flip(each) for each in replayed.flipped],
    }


def _direction(direction: Direction) -> dict[str, Any]:
    return {"count": direction.count, "total_notional": plain(direction.notional)}


def _names(names: Names) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "flips": tally.count,
            "now_refused": tally.refused,
            "total_notional": plain(tally.notional),
        }
        for name, tally in names.top(_MOST)
    ]


def _flip(flip: Flip) -> dict[str, Any]:
    return {
        "source": flip.source,
        "decision_id": flip.decision_id,
        "liquidation_id": flip.liquidation_id,
        "account_id": flip.account_id,
        "liquidator_id": flip.liquidator_id,
        "total_notional": plain(flip.total_notional),
        "code": flip.code,
        "message": flip.message,
        "candidate_code": flip.new_code,
        "candidate_message": flip.new_message,
    }


def _write_json(record: dict[str, Any]) -> None:
    click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2))
