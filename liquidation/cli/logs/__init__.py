"""`liquidation logs`: looking into the decision log."""

import click

from liquidation.cli.logs.explain import explain
from liquidation.cli.logs.replay import replay
from liquidation.cli.logs.report import report
from liquidation.cli.logs.stats import stats
from liquidation.cli.logs.tail import tail

__all__ = ["logs"]


@click.group()
def logs() -> None:
    """Look into the decision log: what was decided, why, and what other rules would change."""


for command in (tail, stats, explain, replay, report):
    logs.add_command(command)
