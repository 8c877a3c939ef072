"""BeginClaim in PostgreSQL, many at once: two round trips and one commit for all of them.

The account's slot is taken by inserting the claim: the unique index on active claims lets exactly
one in. Whether the slot is free is seen with everything else, and decides nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from orjson import Fragment

from liquidation.rules.decision import Decision, facts_of
from liquidation.rules.model import Claim, StoredState
from liquidation.store.base import BeginRequest, BeginResult, PutResult, StateQuery
from liquidation.store.postgres import SQL
from liquidation.store.postgres.claims import claim_of
from liquidation.store.postgres.connection import Rows, Transaction
from liquidation.store.postgres.rows import (
    Puts,
    about,
    lock_accounts,
    state_from,
    written,
)
from liquidation.store.records import account_of, claim_record, granted, known_result, microseconds


@dataclass(frozen=True, slots=True)
class Begin:
    """A claim that is asked for, and the rules that are to be asked about it."""

    request: BeginRequest
    decide: Callable[[StoredState], Decision]


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found about a request while its account is locked, and what was changed with that.

    `known` is what its request_id got before.
    """

    known: BeginResult | None
    state: StoredState
    put: PutResult | None
    expired: tuple[Claim, ...]

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.expired) or (self.put is not None and self.put.applied)


@dataclass(frozen=True, slots=True)
class Slot:
    """An account's slot that is to be taken by a claim, which the rules have accepted."""

    begin: Begin
    found: _Found
    decision: Decision
    account_id: str

    def record(self) -> dict[str, Any]:
        """The claim as it is stored."""
        request = self.begin.request
        row = claim_record(request, self.account_id, self.decision)
        json = {name: Fragment(getattr(row, name)) for name in ("terms", "positions", "decision")}
        return row._asdict() | json | {"lease_us": request.lease_us}

    def granted(self, token: int, begin_us: int, expire_us: int) -> BeginResult:
        """The outcome if the slot was free."""
        request = self.begin.request
        claim = granted(request, self.account_id, self.decision, token, begin_us, expire_us)
        return self.held(claim)

    def held(self, claim: Claim) -> BeginResult:
        """The outcome if `claim` is the one that was to be stored."""
        return _begun(self.begin, self.found, self.decision, claim)

    def taken(self, state: StoredState) -> BeginResult | Exception:
        """The outcome if another claim holds the slot, as `state` says."""
        return _refused(self.begin, replace(self.found, state=state))


async def begin_all(
    transaction: Transaction, begins: Sequence[Begin], earlier: dict[str, Slot]
) -> list[BeginResult | Exception]:
    """What became of each request, in order; see `Store.begin`.

    `earlier` holds, by claim_id, what was to be stored; it is the same whenever the same requests
    are tried again, and identifies a claim stored by a COMMIT that was not answered.
    """
    found = await _look(transaction, begins)
    answers: dict[int, BeginResult | Exception] = {}
    slots: dict[int, Slot] = {}
    for number, outcome in enumerate(map(_decided, begins, found)):
        if isinstance(outcome, Slot):
            slots[number] = outcome
        else:
            answers[number] = _ours(outcome, begins[number].request.claim_id, earlier)
    earlier |= {slot.begin.request.claim_id: slot for slot in slots.values()}
    if not slots and not any(each.changed or each.known for each in found):
        await transaction.roll_back()
    else:
        # With a claim that is known too: it may be here and not on the standby, where the wait for
        # that was torn off. This commit is behind that one, and waits in its place.
        answers |= await _take(transaction, slots)
    missed = {number: slot for number, slot in slots.items() if number not in answers}
    answers |= await _in_the_way(transaction, missed)
    return [answers[number] for number in range(len(begins))]


async def _look(transaction: Transaction, begins: Sequence[Begin]) -> list[_Found]:
    """Locks the accounts, writes down what was found over, stores snapshots; all but the claims."""
    requests = [each.request for each in begins]
    asked = _about(requests)
    bring = [each for each in requests if each.snapshot is not None]
    brought = [each.snapshot for each in bring if each.snapshot is not None]
    for snapshot in brought:
        # The rules need what follows from it; its record is written with that.
        facts_of(snapshot)
    puts = Puts(brought, [each.request_id for each in bring])
    _, locked, over, *stored, state_rows, known_rows = await transaction.ask(
        *lock_accounts(asked),
        (SQL["expire_accounts"], asked),
        *puts.statements(asked),
        (SQL["states"], asked),
        (SQL["known_requests"], asked),
    )
    accounts = {account_id for (account_id,) in locked}
    outcomes = iter(puts.outcomes(stored))
    known = _by_request(known_rows)
    # A lease that ran out is reported once, to the first request about its account.
    expired: dict[str, list[Claim]] = defaultdict(list)
    for row in over:
        claim = claim_of(row)
        expired[claim.account_id].append(claim)
    found = []
    for request, row in zip(requests, state_rows, strict=True):
        put = None if request.snapshot is None else next(outcomes)
        # What came under another account's lock since then is not known yet, but for a liquidation
        # that the request takes for this account's.
        stranger = request.snapshot is not None and put is None
        locks = row[0] is None or row[0] in accounts
        fresh = request.snapshot if put is not None and put.applied else None
        state = state_from(row, fresh) if locks or stranger else StoredState()
        over_here = expired.pop(account_of(request, state) or "", ())
        found.append(_Found(known.get(request.request_id), state, put, tuple(over_here)))
    # Those of accounts that a request does not name, and its liquidation is stored for.
    others = tuple(chain.from_iterable(expired.values()))
    found[-1] = replace(found[-1], expired=found[-1].expired + others)
    return found


def _about(requests: Sequence[BeginRequest]) -> dict[str, Any]:
    queries = [StateQuery.about(each.terms, each.snapshot) for each in requests]
    return about(queries, [each.request_id for each in requests])


def _by_request(rows: Rows) -> dict[str, BeginResult]:
    claims = ((claim_of(row), row[-1]) for row in rows)
    return {claim.request_id: known_result(claim, decision) for claim, decision in claims}


def _decided(begin: Begin, found: _Found) -> BeginResult | Exception | Slot:
    """The decision as if the slot were free: only the insert finds out whether it is."""
    if found.known is not None:
        return replace(found.known, expired=found.expired)
    try:
        decision = begin.decide(replace(found.state, active_claim=None))
    except Exception as error:  # noqa: BLE001 - raised to the caller whose request it is
        return error
    account_id = account_of(begin.request, found.state)
    if decision.accepted and account_id is not None:
        return Slot(begin, found, decision, account_id)
    if found.state.active_claim is None:
        return _begun(begin, found, decision)
    # A claim in process is reported before what the later rules have against this one.
    return _refused(begin, found)


def _refused(begin: Begin, found: _Found) -> BeginResult | Exception:
    try:
        return _begun(begin, found, begin.decide(found.state))
    except Exception as error:  # noqa: BLE001 - as above
        return error


def _begun(
    begin: Begin, found: _Found, decision: Decision, claim: Claim | None = None
) -> BeginResult:
    return BeginResult(
        claim,
        decision,
        begin.request.decision_id,
        state=found.state,
        put=found.put,
        expired=found.expired,
    )


def _ours(
    outcome: BeginResult | Exception, claim_id: str, earlier: dict[str, Slot]
) -> BeginResult | Exception:
    """The outcome; if the claim is known because it was stored just now, that of then."""
    if isinstance(outcome, BeginResult) and outcome.claim is not None:
        slot = earlier.get(claim_id)
        if slot is not None and outcome.claim.claim_id == claim_id:
            return slot.held(outcome.claim)
    return outcome


async def _take(transaction: Transaction, slots: dict[int, Slot]) -> dict[int, BeginResult]:
    rows = written([slot.record() for slot in slots.values()])
    (stored,) = await transaction.ask((SQL["insert_claims"], {"rows": rows}), commit=True)
    times = {
        claim_id: (token, microseconds(begin), microseconds(expire))
        for claim_id, token, begin, expire in stored
    }
    return {
        number: slot.granted(*times[slot.begin.request.claim_id])
        for number, slot in slots.items()
        if slot.begin.request.claim_id in times
    }


async def _in_the_way(
    transaction: Transaction, slots: dict[int, Slot]
) -> dict[int, BeginResult | Exception]:
    """What became of claims that were not let in: the slot is another's, or the request_id is."""
    answers = {
        number: slot.taken(slot.found.state)
        for number, slot in slots.items()
        if slot.found.state.active_claim is not None
    }
    unseen = [number for number in slots if number not in answers]
    if not unseen:
        return answers
    # It came between the look and the insert: it was asked for together with this one.
    asked = _about([slots[number].begin.request for number in unseen])
    state_rows, known_rows = await transaction.ask(
        (SQL["states"], asked), (SQL["known_requests"], asked), commit=True
    )
    known = _by_request(known_rows)
    for number, row in zip(unseen, state_rows, strict=True):
        slot = slots[number]
        before = known.get(slot.begin.request.request_id)
        if before is not None:
            answers[number] = replace(before, expired=slot.found.expired)
        else:
            answers[number] = slot.taken(state_from(row))
    return answers
