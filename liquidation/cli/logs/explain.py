"""`liquidation logs explain`: the whole story of one decision or claim."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from liquidation import needs_extra
from liquidation.analysis.reader import Reader
from liquidation.analysis.story import DecisionTrail, find_story
from liquidation.cli.logs.options import file_options, log_paths, tell_broken
from liquidation.cli.texts import Utf8, printable

__all__ = ["explain"]


@click.command()
@click.argument("wanted", metavar="DECISION_ID|CLAIM_ID", type=Utf8())
@file_options
def explain(wanted: str, files: tuple[Path, ...], *, rotated: bool) -> None:
    """Tell the whole story of one decision, or of one claim, from the log.

    A decision is made again from what its line says, by the rules that were in force, so that
    every rule can be told with what it compared.

    \b
    Examples:
      liquidation logs explain 2f0941e999248f3a-2 decisions.log
      liquidation logs explain d571ccf7c08b4abeaa3286c37e01a291 decisions.log --rotated
    """
    with _readable_twice(log_paths(files, rotated=rotated)) as paths:
        readers: list[Reader] = []

        def entries() -> Reader:
            readers.append(Reader(paths))
            return readers[-1]

        story = find_story(entries, wanted)
        if story is None:
            tell_broken(readers[0])
            raise click.ClickException(f"the log has no decision or claim {printable(wanted)!r}")
        try:
            from liquidation.cli.logs import story_screen  # noqa: PLC0415 - needs rich
        except ModuleNotFoundError as error:
            raise click.ClickException(needs_extra("this", "cli")) from error
        if isinstance(story, DecisionTrail):
            story_screen.write_decision(story)
        else:
            story_screen.write_claim(story)
        tell_broken(readers[0])


@contextmanager
def _readable_twice(paths: list[Path]) -> Iterator[list[Path]]:
    """The files to read; standard input is put into one, since a story is looked for twice."""
    if paths and Path("-") not in paths:
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="liquidation-") as folder:
        kept = Path(folder) / "standard-input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [kept if path == Path("-") else path for path in paths] or [kept]
