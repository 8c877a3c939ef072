"""What every engine stores in the same form: claims, decisions, times, and SQL in its own files."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson

from liquidation.rules.decision import Decision
from liquidation.rules.model import Claim, ClaimState, Liquidation, StoredState
from liquidation.rules.record import (
    claimed_positions_from_record,
    claimed_positions_record,
    liquidation_record,
    terms_from_record,
    terms_record,
)
from liquidation.store.base import BeginRequest, BeginResult

LEASE_RAN_OUT: Final = "The lease ran out."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def statements_of(package: str, name: str) -> tuple[str, ...]:
    """The statements of the file `name` of a package, in order, without its lines of comment."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    statements = map(str.strip, "\n".join(lines).split(";"))
    return tuple(statement for statement in statements if statement)


def queries_of(package: str) -> dict[str, str]:
    """The statements in the `queries.sql` of a package, each after a line `-- name: NAME`.

    `{NAME}` in one stands for another before it.
    """
    queries = {"lease_ran_out": LEASE_RAN_OUT}
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    for named in text.split("-- name: ")[1:]:
        name, *lines = named.splitlines()
        statement = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()
        queries[name] = re.sub(r"\{(\w+)\}", lambda found: queries[found[1]], statement)
    return queries


def microseconds(time: datetime) -> int:
    """Microseconds since the Unix epoch; exact."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(wall_us: int) -> datetime:
    """The time so many microseconds after the Unix epoch; exact."""
    return _EPOCH + timedelta(microseconds=wall_us)


class ClaimRow(NamedTuple):
    """What is stored of a claim, but for its times; terms, positions and decision are JSON."""

    claim_id: str
    request_id: str
    account_id: str
    liquidation_id: int
    revision: int
    terms: str
    positions: str
    decision: str


def liquidation_text(liquidation: Liquidation) -> str:
    """A snapshot as JSON text."""
    facts = liquidation.facts
    record = liquidation_record(liquidation) if facts is None else facts.record
    return orjson.dumps(record).decode()


def is_news(snapshot: Liquidation | None, state: StoredState) -> bool:
    """Whether a snapshot that a request brought would be stored."""
    if snapshot is None or state.closed:
        return False
    return state.liquidation is None or state.liquidation.revision < snapshot.revision


def account_of(request: BeginRequest, state: StoredState) -> str | None:
    """Whose slot a request is about; None if no liquidation is known."""
    if request.snapshot is not None:
        return request.snapshot.account_id
    return None if state.liquidation is None else state.liquidation.account_id


def claim_record(request: BeginRequest, account_id: str, decision: Decision) -> ClaimRow:
    """What is stored of a claim that is granted, but for its times."""
    return ClaimRow(
        request.claim_id,
        request.request_id,
        account_id,
        request.terms.liquidation_id,
        decision.liquidation_revision,
        orjson.dumps(terms_record(request.terms)).decode(),
        orjson.dumps(claimed_positions_record(decision.positions)).decode(),
        orjson.dumps(_decision_record(request.decision_id, decision)).decode(),
    )


def granted(
    request: BeginRequest,
    account_id: str,
    decision: Decision,
    fencing_token: int,
    begin_us: int,
    expire_us: int,
) -> Claim:
    """The claim that was just stored."""
    return Claim(
        claim_id=request.claim_id,
        request_id=request.request_id,
        account_id=account_id,
        terms=request.terms,
        liquidation_revision=decision.liquidation_revision,
        fencing_token=fencing_token,
        state=ClaimState.ACTIVE,
        positions=decision.positions,
        begin_us=begin_us,
        expire_us=expire_us,
    )


def claim_from(
    row: Sequence[Any], begin_us: int, expire_us: int, end_us: int | None, *, over: bool
) -> Claim:
    """The claim in a row, as it stands now.

    `row` is fencing_token, claim_id, request_id, account_id, terms, positions, revision, state,
    end_reason; terms and positions are records. `over` says that its lease has run out, whatever
    is written down: then it is EXPIRED.
    """
    token, claim_id, request_id, account_id, terms, positions, revision, state, reason = row
    if over and state == ClaimState.ACTIVE.name:
        state, end_us, reason = ClaimState.EXPIRED.name, expire_us, LEASE_RAN_OUT
    return Claim(
        claim_id=claim_id,
        request_id=request_id,
        account_id=account_id,
        terms=terms_from_record(terms),
        liquidation_revision=revision,
        fencing_token=token,
        state=ClaimState[state],
        positions=claimed_positions_from_record(positions),
        begin_us=begin_us,
        expire_us=expire_us,
        end_us=end_us,
        end_reason=reason,
    )


def _decision_record(decision_id: str, decision: Decision) -> dict[str, Any]:
    numbers = (
        decision.total_notional,
        decision.least_req_ratio,
        decision.margin_ratio,
        decision.maintenance_margin_ratio,
    )
    return {
        "decision_id": decision_id,
        "rules_version": decision.rules_version,
        "numbers": [number or None for number in numbers],
    }


def known_result(claim: Claim, record: Mapping[str, Any]) -> BeginResult:
    """What a request_id got before: the claim, and the `record` of the decision that granted it."""
    total, least, margin, maintenance = (number or "" for number in record["numbers"])
    decision = Decision(
        None,
        record["rules_version"],
        total,
        least,
        margin,
        maintenance,
        claim.liquidation_revision,
        claim.account_id,
    )
    return BeginResult(claim, decision, record["decision_id"], known=True)
