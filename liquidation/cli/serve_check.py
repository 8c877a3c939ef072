"""`liquidation serve --check`: a look at what a server is told.

A server that serves does not import this: what reads certificates takes 9 MB of memory.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click

from liquidation.cli.texts import printable
from liquidation.config.settings import Settings
from liquidation.server.preflight import Finding, State, findings

__all__ = ["check"]

_COLOURS: Final = {State.OK: "green", State.NOTE: "yellow", State.WRONG: "red"}


def check(settings: Settings, now: datetime) -> bool:
    """Tells what is found out about each part of the settings; whether a server would start."""
    found = tuple(findings(settings, now))
    _write(found)
    return all(each.state is not State.WRONG for each in found)


def _write(found: Sequence[Finding]) -> None:
    """A line a finding: how it is, what was looked at, and what there is to say."""
    widest = max(len(each.what) for each in found)
    for each in found:
        state = click.style(f"{each.state.value:<5}", _COLOURS[each.state])
        # What a file holds is in some of them, such as the name in a certificate.
        click.echo(f"{state}  {each.what:<{widest}}  {' '.join(printable(each.told).split())}")
