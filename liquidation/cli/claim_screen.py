"""Claims as tables: a list of them, and one with its history."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from liquidation.cli.drawing import NARROW, PAGE, a_console, a_table, cell, plainly
from liquidation.cli.texts import moment
from liquidation.values import (
    Claim,
    ClaimedPosition,
    ClaimEvent,
    ClaimRecord,
    ClaimState,
    ClaimTerms,
)

__all__ = ["write_claim", "write_claims"]

# Characters below which a list has two lines a claim.
_ROOMY: Final = 140
# The columns of a list, and how each is laid out. A claim's id, which the other commands need, is
# always there in one piece.
_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "claim": {"no_wrap": True},
    "state": {"no_wrap": True},
    "account": {},
    "liquidation": {"justify": "right"},
    "liquidator": {},
    "begun (UTC)": {"min_width": 10},
    "ends, ended": {"min_width": 10},
}
_STYLES: Final = {
    ClaimState.ACTIVE: "yellow",
    ClaimState.COMPLETED: "green",
    ClaimState.CANCELLED: "dim",
    ClaimState.EXPIRED: "red",
}


def write_claims(claims: Iterable[Claim]) -> None:
    """A row a claim, and how many there are."""
    console = a_console()
    rest, count = iter(claims), 0
    while page := list(islice(rest, PAGE)):
        write = _write_roomy if console.width >= _ROOMY else _write_narrow
        write(console, page)
        count += len(page)
    console.print(cell(f" {count:,} {'claim' if count == 1 else 'claims'}"))


def _write_roomy(console: Console, claims: Sequence[Claim]) -> None:
    table = a_table()
    for name, layout in _COLUMNS.items():
        table.add_column(name, **{"overflow": "fold", **layout})
    for claim in claims:
        table.add_row(
            cell(claim.claim_id),
            _state(claim.state),
            cell(claim.account_id),
            cell(str(claim.terms.liquidation_id)),
            cell(claim.terms.liquidator_id),
            cell(moment(claim.begin_time)),
            cell(moment(claim.end_time or claim.expire_time)),
        )
    console.print(table)


def _write_narrow(console: Console, claims: Sequence[Claim]) -> None:
    """Two lines a claim, with what there is room for."""
    table = a_table("claim, account", "state, begun (UTC)")
    table.columns[0].min_width = 32
    table.columns[1].min_width = 19
    if console.width >= NARROW:
        table.add_column("liquidation, liquidator", overflow="fold")
    for claim in claims:
        cells = (
            cell(f"{claim.claim_id}\n{claim.account_id}"),
            _state(claim.state).append(f"\n{moment(claim.begin_time)}", "default"),
            cell(f"{claim.terms.liquidation_id}\n{claim.terms.liquidator_id}"),
        )
        table.add_row(*cells[: len(table.columns)])
    console.print(table)


def write_claim(record: ClaimRecord) -> None:
    """One claim: what it is, what it takes, and what happened to it."""
    console = a_console()
    claim = record.claim
    console.print(cell(f"Claim {claim.claim_id}", "bold"))
    table = a_table("", "")
    table.show_header = False
    table.add_row("state", _state(claim.state))
    for name, text in _facts(claim):
        if text:
            table.add_row(name, cell(text))
    console.print(table)
    _write_positions(console, claim.positions)
    _write_history(console, record.history)


def _facts(claim: Claim) -> Iterable[tuple[str, str]]:
    terms = claim.terms
    yield "account", claim.account_id
    yield "liquidation", f"{terms.liquidation_id}, revision {claim.liquidation_revision}"
    yield "liquidator", terms.liquidator_id
    yield "asked for", _asked(terms)
    yield "limit prices", _listed(terms.limit_price.items())
    yield "request id", claim.request_id
    yield "fencing token", str(claim.fencing_token)
    yield "begun", f"{moment(claim.begin_time)} UTC"
    if claim.end_time is None:
        yield "lease ends", f"{moment(claim.expire_time)} UTC"
    else:
        yield "ended", f"{moment(claim.end_time)} UTC"
    yield "reason", claim.end_reason


def _asked(terms: ClaimTerms) -> str:
    """What was asked for, such as "1, and 0.05 extra" or "PERP_SOL_USDC 0.5"."""
    ratio = terms.ratio_qty_request
    asked = _listed((each.symbol, each.ratio_qty_request) for each in terms.symbols)
    asked = asked if ratio is None else str(_plain(ratio))
    extra = _plain(terms.extra_liquidation_ratio)
    return f"{asked}, and {extra} extra" if extra not in ("", "0") else asked


def _listed(numbers: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(f"{name} {_plain(value)}" for name, value in numbers)


def _plain(value: Any) -> str:
    """A number of an answer, which is always a Decimal."""
    return plainly(value)


def _write_positions(console: Console, positions: Sequence[ClaimedPosition]) -> None:
    table = a_table("takes", "qty", "max qty", "notional")
    for column in table.columns[1:]:
        column.justify = "right"
    for taken in positions:
        numbers = (taken.qty, taken.max_qty, taken.notional)
        table.add_row(cell(taken.symbol), *(cell(plainly(each)) for each in numbers))
    console.print(table)


def _write_history(console: Console, history: Sequence[ClaimEvent]) -> None:
    table = a_table("time (UTC)", "change", "lease until", "reason")
    table.columns[0].no_wrap = True
    for event in history:
        change = f"{event.change}, forced" if event.forced else event.change
        table.add_row(
            cell(moment(event.time)),
            cell(change, "yellow" if event.forced else ""),
            cell(_later(event.expire_time, event.time)),
            cell(event.reason),
        )
    console.print(table)


def _later(time: datetime, other: datetime) -> str:
    """`time` without its date where that is the date of `other`, which stands beside it."""
    (date, clock), (other_date, _) = moment(time).split(), moment(other).split()
    return clock if date == other_date else f"{date} {clock}"


def _state(state: ClaimState | None) -> Text:
    if state is None:
        return cell("unknown")
    return cell(state.name.lower(), _STYLES[state])
