"""`liquidation claims`: what is being carried out, what became of it, and an operator's way out."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from liquidation.cli.asking import Server, connected, proto_json, server_options
from liquidation.cli.options import (
    NARROW,
    PAGE,
    Column,
    Piece,
    format_option,
    moment,
    number,
    plainly,
    printable,
    screen,
    text,
    write_json,
)
from liquidation.client import LiquidationRefused
from liquidation.v1 import claim_service_pb2
from liquidation.values import Claim, ClaimEvent, ClaimRecord, ClaimState, ClaimTerms

if TYPE_CHECKING:
    from liquidation.cli.table import Screen

_NOT_FOUND: Final = -1006
# Characters below which a list has two lines a claim.
_ROOMY: Final = 140
# A claim's id, which the other commands need, is always there in one piece.
_COLUMNS: Final[tuple[Column, ...]] = (
    ("claim", {"no_wrap": True}),
    ("state", {"no_wrap": True}),
    "account",
    ">liquidation",
    "liquidator",
    ("begun (UTC)", {"min_width": 10}),
    ("ends, ended", {"min_width": 10}),
)
_NARROW_COLUMNS: Final[tuple[Column, ...]] = (
    ("claim, account", {"min_width": 32}),
    ("state, begun (UTC)", {"min_width": 19}),
    "liquidation, liquidator",
)
_HISTORY_COLUMNS: Final[tuple[Column, ...]] = (
    ("time (UTC)", {"no_wrap": True}),
    "change",
    "lease until",
    "reason",
)
_STYLES: Final = {
    ClaimState.ACTIVE: "yellow",
    ClaimState.COMPLETED: "green",
    ClaimState.CANCELLED: "dim",
    ClaimState.EXPIRED: "red",
}
_STATES: Final = [state.name.lower() for state in ClaimState]


@click.group(short_help="Claims of a server: list, show, cancel.")
def claims() -> None:
    """The claims that a server holds: those that are being carried out, and those that ended.

    \b
    Example:
      liquidation claims list --state active
    """


@claims.command("list", short_help="Claims, newest first.")
@server_options()
@click.option("--account", type=text, metavar="ID", default="", help="Only those on an account.")
@click.option("--liquidation-id", type=number, metavar="N", help="Only those on a liquidation.")
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
    on = None if form == "jsonl" else screen()
    wanted = None if state is None else ClaimState[state.upper()]
    with connected(server) as client:
        listed = client.list_claims(account, liquidation_id or 0, wanted, page_size=PAGE)
        if on is None:
            for claim in listed:
                write_json(proto_json(claim_service_pb2.Claim, claim), option=0)
        else:
            _write_claims(on, listed)


@claims.command(short_help="One claim: what it takes, and its history.")
@click.argument("claim_id", type=text, default="")
@server_options()
@click.option(
    "--request-id", type=text, metavar="ID", default="", help="By the id that the caller gave it."
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
    on = None if form == "json" else screen()
    with connected(server) as client, _known(claim_id or request_id):
        record = client.get_claim(claim_id, request_id)
        if on is None:
            write_json(proto_json(claim_service_pb2.GetClaimResponse, record))
        else:
            _write_claim(on, record)


@claims.command(short_help="End a claim whose positions were not transferred.")
@click.argument("claim_id", type=text)
@server_options()
@click.option("--force", is_flag=True, help="As an operator: without the token; logged as such.")
@click.option("--token", type=number, metavar="N", help="The claim's fencing token.")
@click.option(
    "--reason",
    type=text,
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
        *(f"  {each.symbol} {plainly(each.qty)}" for each in claim.positions),
    )
    click.echo(printable("\n".join(told)), err=True)
    click.confirm("Cancel it?", abort=True, err=True)


def _write_claims(on: "Screen", claims: Iterable[Claim]) -> None:
    """A row a claim, and how many there are."""
    rest, count = iter(claims), 0
    while page := list(islice(rest, PAGE)):
        if on.width >= _ROOMY:
            on.table(_COLUMNS, map(_roomy_row, page))
        else:
            # Two lines a claim, with what there is room for.
            columns = _NARROW_COLUMNS if on.width >= NARROW else _NARROW_COLUMNS[:2]
            on.table(columns, (_narrow_row(claim)[: len(columns)] for claim in page))
        count += len(page)
    on.line(f" {count:,} {'claim' if count == 1 else 'claims'}")


def _roomy_row(claim: Claim) -> tuple[str | Piece, ...]:
    return (
        claim.claim_id,
        _state(claim.state),
        claim.account_id,
        str(claim.terms.liquidation_id),
        claim.terms.liquidator_id,
        moment(claim.begin_time),
        moment(claim.end_time or claim.expire_time),
    )


def _narrow_row(claim: Claim) -> tuple[str | list[Piece], ...]:
    return (
        f"{claim.claim_id}\n{claim.account_id}",
        [_state(claim.state), (f"\n{moment(claim.begin_time)}", "")],
        f"{claim.terms.liquidation_id}\n{claim.terms.liquidator_id}",
    )


def _write_claim(on: "Screen", record: ClaimRecord) -> None:
    """One claim: what it is, what it takes, and what happened to it."""
    claim, terms = record.claim, record.claim.terms
    on.line(f"Claim {claim.claim_id}", "bold")
    ended = claim.end_time is not None
    on.facts(
        (
            ("state", _state(claim.state)),
            ("account", claim.account_id),
            ("liquidation", f"{terms.liquidation_id}, revision {claim.liquidation_revision}"),
            ("liquidator", terms.liquidator_id),
            ("asked for", _asked(terms)),
            ("limit prices", _listed(terms.limit_price.items())),
            ("request id", claim.request_id),
            ("fencing token", str(claim.fencing_token)),
            ("begun", f"{moment(claim.begin_time)} UTC"),
            (
                "ended" if ended else "lease ends",
                f"{moment(claim.end_time or claim.expire_time)} UTC",
            ),
            ("reason", claim.end_reason),
        )
    )
    on.positions("takes", claim.positions)
    on.table(_HISTORY_COLUMNS, map(_history_row, record.history))


def _asked(terms: ClaimTerms) -> str:
    """What was asked for, such as "1, and 0.05 extra" or "PERP_SOL_USDC 0.5"."""
    asked = plainly(terms.ratio_qty_request)
    if not asked:
        asked = _listed((each.symbol, each.ratio_qty_request) for each in terms.symbols)
    extra = plainly(terms.extra_liquidation_ratio)
    return f"{asked}, and {extra} extra" if extra not in ("", "0") else asked


def _listed(numbers: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(f"{name} {plainly(value)}" for name, value in numbers)


def _history_row(event: ClaimEvent) -> tuple[str | Piece, ...]:
    return (
        moment(event.time),
        (f"{event.change}, forced", "yellow") if event.forced else str(event.change),
        _later(event.expire_time, event.time),
        event.reason,
    )


def _later(time: datetime, other: datetime) -> str:
    """`time` without its date if that is the date of `other`, which stands beside it."""
    (date, clock), (other_date, _) = moment(time).split(), moment(other).split()
    return clock if date == other_date else f"{date} {clock}"


def _state(state: ClaimState | None) -> Piece:
    return ("unknown", "") if state is None else (state.name.lower(), _STYLES[state])
