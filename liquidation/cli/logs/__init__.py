"""`liquidation logs`: looking into the decision log."""

import click

__all__ = ["logs"]


@click.group()
def logs() -> None:
    """Look into the decision log: what was decided, why, and what other rules would change."""
