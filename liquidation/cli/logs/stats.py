"""`liquidation logs stats`: what a log holds, counted."""

from pathlib import Path

import click
import orjson

from liquidation import needs_extra
from liquidation.analysis.reader import Filter, Reader
from liquidation.analysis.summary import BUCKETS, Summary
from liquidation.cli.logs.options import file_options, filter_options, log_paths, tell_broken

__all__ = ["stats"]


@click.command()
@file_options
@click.option(
    "--bucket",
    type=click.Choice(list(BUCKETS)),
    default="1h",
    show_default=True,
    help="How wide a bucket of time is.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1, max=10_000),
    default=10,
    show_default=True,
    help="How many of each kind are shown; the rest stands together.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@filter_options
def stats(
    files: tuple[Path, ...],
    *,
    rotated: bool,
    bucket: str,
    top: int,
    as_json: bool,
    wanted: Filter,
) -> None:
    """Count a decision log: by code, rule, caller and time, with latencies and lost lines.

    \b
    Examples:
      liquidation logs stats decisions.log --rotated
      liquidation logs stats decisions.log --since 7d --bucket 1d --json
    """
    reader = Reader(log_paths(files, rotated=rotated))
    summary = Summary(bucket, wanted)
    for entry in reader:
        summary.add(entry.fields)
    record = summary.record(top)
    if as_json:
        click.echo(orjson.dumps(record | {"broken": reader.broken}, option=orjson.OPT_INDENT_2))
    else:
        _screen_of(record)
    tell_broken(reader)


def _screen_of(record: dict[str, object]) -> None:
    try:
        from liquidation.cli.logs.screen import write_summary  # noqa: PLC0415 - needs rich
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{needs_extra('a table', 'cli')}; or use --json") from error
    write_summary(record)
