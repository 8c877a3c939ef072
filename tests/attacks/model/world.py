"""What may happen next: callers who do as they like, faults, and time.

Whatever a caller can send, it may send at any moment and any number of times. That covers calls
that are retried, that overtake each other or arrive when their caller is long gone. An answer is
heard or lost, whatever loses it: a crash after the commit, a network, a deadline.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from tests.attacks.model.protocol import Protocol
from tests.attacks.model.state import (
    LEASE,
    Action,
    Answer,
    Begin,
    Change,
    Claim,
    Close,
    Event,
    Forget,
    Liquidation,
    Phase,
    Put,
    State,
    Told,
    Wait,
    initial,
)

# No claim has it.
_WRONG_TOKEN = 0


@dataclass(frozen=True)
class Bounds:
    """How large the world is. Time, tokens, revisions and the number of claims have no bound.

    `accounts` has the account of each liquidation. A request_id is a client's; after a purge it is
    a new one. `terms` is how many different terms are sent with it for one liquidation. With
    `stale` a request may bring a snapshot that is older than the stored one.
    """

    accounts: tuple[int, ...]
    requests: int
    terms: int = 1
    stale: bool = False

    @property
    def initial(self) -> State:
        """Before anything happened."""
        return initial(self.accounts, self.requests)


class Step(NamedTuple):
    """One thing that happened: what was answered, whether the caller heard it, and what is then."""

    action: Action
    answer: Answer
    heard: bool
    after: State


def steps(protocol: Protocol, state: State, bounds: Bounds) -> Iterator[Step]:
    """Everything that may happen in a state."""
    for action in _actions(state, bounds):
        answer, after = protocol.step(state, action)
        after = _noted(state, action, answer, after)
        yield Step(action, answer, False, after)
        if isinstance(action, Begin | Change) and answer.claim is not None:
            heard = _heard(after, action.request, Told(answer.claim.token, answer.claim.state))
            if heard is not after:
                yield Step(action, answer, True, heard)


def _actions(state: State, bounds: Bounds) -> Iterator[Action]:
    requests = _requests(state)
    # Changes come first: a begin may write down on the way that a lease ran out, and a store is to
    # be asked before anything did.
    for request in requests:
        yield from _about_request(state, request)
    for number in range(len(state.liquidations)):
        yield from _about_liquidation(state, number, requests, bounds)
    yield Wait(1)
    yield Wait(LEASE)
    yield from Event


def _about_liquidation(
    state: State, number: int, requests: list[int], bounds: Bounds
) -> Iterator[Action]:
    stored = state.liquidations[number].revision
    snapshots = [0, stored + 1]
    if bounds.stale and stored > 1:
        snapshots.append(stored - 1)
    for request, terms, revision in product(requests, range(bounds.terms), snapshots):
        yield Begin(request, number, terms, revision)
    if stored:
        yield Put(number, stored)
    yield Put(number, stored + 1)
    yield Close(number)


def _about_request(state: State, request: int) -> Iterator[Action]:
    claim = state.claim_of(request)
    tokens = [_WRONG_TOKEN] if claim is None else [claim.token, _WRONG_TOKEN]
    for what, token in product(("renew", "complete", "cancel"), tokens):
        yield Change(what, request, token)
    yield Change("cancel", request, None)
    if state.told[request] is not None:
        yield Forget(request)


def _requests(state: State) -> list[int]:
    """The request_ids that are in use, and one that is not: it stands for all others."""
    used = {each.request for each in state.claims}
    used |= {n for n, told in enumerate(state.told) if told is not None}
    unused = next((n for n in range(len(state.told)) if n not in used), None)
    return sorted(used) if unused is None else sorted({*used, unused})


def _noted(before: State, action: Action, answer: Answer, after: State) -> State:
    """The state with what the world itself keeps account of."""
    if isinstance(action, Begin) and answer.changed and answer.claim is not None:
        return after._replace(greatest=max(after.greatest, answer.claim.token))
    if isinstance(action, Forget):
        return _heard(after, action.request, None)
    if action is Event.PURGE:
        # What was forgotten after its end was promised to nobody.
        ended = {claim.token for claim in before.claims if claim.state is not Phase.ACTIVE}
        told = tuple(None if each and each.token in ended else each for each in after.told)
        return after._replace(told=told)
    return after


def _heard(state: State, request: int, told: Told | None) -> State:
    if state.told[request] == told:
        return state
    kept = list(state.told)
    kept[request] = told
    return state._replace(told=tuple(kept))


def canonical(state: State) -> State:
    """The same state for all that differ in names alone.

    Accounts of one shape are put in order, requests and tokens are numbered by their claims, and
    revisions by their order on the account. What a claim that ended was decided on settles nothing
    any more: it is dropped. So are older tokens: that a token is greater than all before it is
    looked at when it is granted, and then it only matters whether two are the same.
    """
    blocks = sorted(_block(state, account) for account in range(len(state.settled)))
    liquidations: list[Liquidation] = []
    claims: list[Claim] = []
    told: list[Told | None] = []
    for account, (stored, _, kept) in enumerate(blocks):
        first = len(liquidations)
        liquidations += [Liquidation(account, *each) for each in stored]
        for place, terms, revision, phase, left, heard in kept:
            token = len(claims) + 1
            claims.append(Claim(len(claims), first + place, terms, revision, token, phase, left))
            told.append(Told(token, heard) if heard else None)
    told += [None] * (len(state.told) - len(told))
    return State(
        tuple(liquidations),
        tuple(settled for _, settled, _ in blocks),
        tuple(claims),
        len(claims),
        tuple(told),
        len(claims),
    )


_Kept = tuple[int, int, int, Phase, int, Phase | Literal[""]]
_Block = tuple[tuple[tuple[int, bool], ...], int, tuple[_Kept, ...]]


def _block(state: State, account: int) -> _Block:
    """All that is about one account, without names."""
    places = [n for n, each in enumerate(state.liquidations) if each.account == account]
    claims = [each for each in state.claims if each.liquidation in places]
    revisions = {state.liquidations[n].revision for n in places} | {0, state.settled[account]}
    revisions |= {each.revision for each in claims if each.state is Phase.ACTIVE}
    rank = {revision: n for n, revision in enumerate(sorted(revisions))}
    kept = sorted(_kept(state, claim, places.index(claim.liquidation), rank) for claim in claims)
    stored = tuple(
        (rank[state.liquidations[n].revision], state.liquidations[n].closed) for n in places
    )
    return stored, rank[state.settled[account]], tuple(kept)


def _kept(state: State, claim: Claim, place: int, rank: dict[int, int]) -> _Kept:
    told = state.told[claim.request]
    revision = rank[claim.revision] if claim.state is Phase.ACTIVE else 0
    heard: Phase | Literal[""] = "" if told is None else told.state
    return place, claim.terms, revision, claim.state, claim.left, heard
