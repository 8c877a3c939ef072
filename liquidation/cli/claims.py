"""`liquidation claims`: what is being carried out, what became of it, and an operator's way out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
import orjson

from liquidation.cli.connecting import Server, connected, server_options
from liquidation.cli.options import format_option, screen
from liquidation.cli.records import claim_json, claim_record_json
from liquidation.cli.texts import Number, Utf8, moment, printable
from liquidation.client import LiquidationRefused
from liquidation.rules.numbers import plain
from liquidation.values import Claim, ClaimRecord, ClaimState

__all__ = ["claims"]

_NOT_FOUND: Final = -1006
_STATES: Final = [state.name.lower() for state in ClaimState]


@click.group(short_help="Claims of a server: list, show, cancel.")
def claims() -> None:
    """The claims that a server holds: those that are being carried out, and those that ended.

    \b
    Example:
      liquidation claims list --state active
    """


@claims.command("list", short_help="Claims, newest first.")
@server_options
@click.option("--account", type=Utf8(), metavar="ID", default="", help="Only those on an account.")
@click.option("--liquidation-id", type=Number(), metavar="N", help="Only those on a liquidation.")
@click.option("--state", type=click.Choice(_STATES), help="Only those in a state.")
@format_option("jsonl", help_="For people, or for programs: one Claim a line.")
def list_claims(
    server: Server, account: str, liquidation_id: int | None, state: str | None, form: str
) -> None:
    """Claims, newest first. Those that ended are kept for a while, by default for 7 days.

    \b
    Examples:
      liquidation claims list --state active
      liquidation claims list --account account-1 --format jsonl

    \b
    Exit status:
      0  they are listed
      1  the server did not answer, or refused
      2  the command was not used as it is meant to be
    """
    write = _write_jsonl if form == "jsonl" else screen().write_claims
    wanted = None if state is None else ClaimState[state.upper()]
    with connected(server) as client:
        write(client.list_claims(account, liquidation_id or 0, wanted, page_size=500))


@claims.command(short_help="One claim: what it takes, and its history.")
@click.argument("claim_id", type=Utf8(), default="")
@server_options
@click.option(
    "--request-id", type=Utf8(), metavar="ID", default="", help="By the id that the caller gave it."
)
@format_option("json", help_="For people, or for programs: the GetClaimResponse.")
def show(claim_id: str, server: Server, request_id: str, form: str) -> None:
    """One claim: what it takes, and all that happened to it, oldest first.

    \b
    Examples:
      liquidation claims show 0b4f6c1d2e3a4b5c8d7e9f0a1b2c3d4e
      liquidation claims show --request-id order-77

    \b
    Exit status:
      0  it is shown
      1  there is no such claim, or the server did not answer
      2  the command was not used as it is meant to be
    """
    if bool(claim_id) is bool(request_id):
        raise click.UsageError("give CLAIM_ID, or --request-id, and not both")
    write = _write_json if form == "json" else screen().write_claim
    with connected(server) as client, _known(claim_id or request_id):
        write(client.get_claim(claim_id, request_id))


@claims.command(short_help="End a claim whose positions were not transferred.")
@click.argument("claim_id", type=Utf8())
@server_options
@click.option("--force", is_flag=True, help="As an operator: without the token; logged as such.")
@click.option("--token", type=Number(), metavar="N", help="The claim's fencing token.")
@click.option(
    "--reason",
    type=Utf8(),
    metavar="TEXT",
    required=True,
    help="Why, in up to 256 characters; kept with the claim and in the log.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether that is meant.")
def cancel(
    claim_id: str, server: Server, *, force: bool, token: int | None, reason: str, yes: bool
) -> None:
    """End a claim whose positions were not transferred: the account is free at once.

    Whoever holds the claim can no longer complete it. Make sure first that no transfer is under
    way. Without --yes the claim is shown, and asked about.

    \b
    Example:
      liquidation claims cancel 0b4f6c1d2e3a4b5c8d7e9f0a1b2c3d4e --force \\
          --reason "the backend that began it is gone"

    \b
    Exit status:
      0  the claim is cancelled, now or before
      1  it was not: refused, no such claim, no answer, or the question was answered with no
      2  the command was not used as it is meant to be
    """
    if force is (token is not None):
        raise click.UsageError("give --token, or --force, which needs none")
    if not reason.strip():
        raise click.UsageError("--reason must say why")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: give --yes")
    with connected(server) as client, _known(claim_id):
        if not yes:
            _ask(client.get_claim(claim_id).claim)
        ended = client.cancel_claim(claim_id, token or 0, reason, force)
    click.echo(f"Claim {printable(ended.claim_id)} on {printable(ended.account_id)} is cancelled.")


@contextmanager
def _known(name: str) -> Iterator[None]:
    """Tells a claim that is not known in words about claims; those of its code are about orders."""
    try:
        yield
    except LiquidationRefused as refused:
        if refused.code != _NOT_FOUND:
            raise
        raise click.ClickException(f"there is no claim {printable(name)}") from refused


def _ask(claim: Claim) -> None:
    """Asks whether an active claim is meant. One that has ended is left to the server's answer."""
    if claim.state is not ClaimState.ACTIVE:
        return
    told = (
        f"Claim {claim.claim_id} is active. Its lease ends {moment(claim.expire_time)} UTC.",
        f"  account {claim.account_id}",
        f"  liquidation {claim.terms.liquidation_id}, liquidator {claim.terms.liquidator_id}",
        *(f"  {each.symbol} {plain(each.qty)}" for each in claim.positions),
    )
    click.echo(printable("\n".join(told)), err=True)
    click.confirm("Cancel it?", abort=True, err=True)


def _write_jsonl(listed: Iterator[Claim]) -> None:
    for claim in listed:
        click.echo(orjson.dumps(claim_json(claim)))


def _write_json(record: ClaimRecord) -> None:
    click.echo(orjson.dumps(claim_record_json(record), option=orjson.OPT_INDENT_2))
