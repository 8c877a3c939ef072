"""The claim protocol as a transition system: what the contract promises of claims, and no code.

Every action is atomic, as a transaction is. A call that is retried, late or doubled is an action
that comes again; one that a crash swallows before its commit is an action that does not come.
"""

from typing import Final

from tests.attacks.model.state import (
    DUPLICATED,
    IN_PROCESS,
    LEASE,
    NOT_FOUND,
    OK,
    REFUSED,
    Action,
    Answer,
    Begin,
    Change,
    Claim,
    Close,
    Event,
    Liquidation,
    Phase,
    Put,
    State,
    Wait,
)

_ENDS: Final = {"complete": Phase.COMPLETED, "cancel": Phase.CANCELLED}


class Protocol:
    """The protocol as the contract has it. Each method is a place where one may go wrong."""

    def step(self, state: State, action: Action) -> tuple[Answer, State]:
        """What is answered to an action, and the state after it."""
        match action:
            case Begin():
                return self.begin(state, action)
            case Change():
                return self.change(state, action)
            case Put():
                return self.put(state, action.liquidation, action.revision)
            case Close():
                return self.close(state, action)
            case Wait():
                return Answer(OK), self.wait(state, action.ticks)
            case Event.PURGE:
                return Answer(OK), self.purge(state)
            case Event.RESTART:
                return Answer(OK), self.restart(state)
            case _:
                return Answer(OK), state

    def begin(self, state: State, begin: Begin) -> tuple[Answer, State]:
        """The request_id, the snapshot, the rules and the account's slot, in one transaction."""
        before = self.known(state, begin)
        if before is not None:
            return self.again(before, begin), state
        if begin.revision:
            _, state = self.put(state, begin.liquidation, begin.revision)
        liquidation = state.liquidations[begin.liquidation]
        if liquidation.closed or not liquidation.revision:
            return Answer(REFUSED), state
        if self.holder(state, begin.liquidation) is not None:
            return Answer(IN_PROCESS), state
        revision = self.decided_on(liquidation, begin)
        if not self.refreshed(state, liquidation.account, revision):
            return Answer(IN_PROCESS), state
        token = self.next_token(state)
        claim = Claim(
            begin.request, begin.liquidation, begin.terms, revision, token, Phase.ACTIVE, LEASE
        )
        return Answer(OK, claim, changed=True), state._replace(
            claims=(*state.claims, claim), counter=token
        )

    def known(self, state: State, begin: Begin) -> Claim | None:
        """What the request_id got before."""
        return state.claim_of(begin.request)

    def again(self, before: Claim, begin: Begin) -> Answer:
        """The first answer again, or why there is none."""
        if (before.liquidation, before.terms) != (begin.liquidation, begin.terms):
            return Answer(DUPLICATED)
        return Answer(OK, before)

    def holder(self, state: State, liquidation: int) -> Claim | None:
        """The claim that holds the slot of the liquidation's account."""
        account = state.liquidations[liquidation].account
        for claim in state.claims:
            if claim.state is Phase.ACTIVE and state.account_of(claim) == account:
                return claim
        return None

    def decided_on(self, liquidation: Liquidation, _begin: Begin) -> int:
        """The revision that is decided on: a newer one was stored, and a stale one is not used."""
        return liquidation.revision

    def refreshed(self, state: State, account: int, revision: int) -> bool:
        """Whether the positions are newer than what the last completed claim left behind."""
        return revision > state.settled[account]

    def next_token(self, state: State) -> int:
        """The token of the next claim."""
        return state.counter + 1

    def change(self, state: State, change: Change) -> tuple[Answer, State]:
        """A renewal, or an end: of an active claim, by its token."""
        claim = state.claim_of(change.request)
        if claim is None:
            return Answer(NOT_FOUND), state
        if not self.fits(claim, change.token):
            return Answer(REFUSED), state
        if not self.active(claim, change):
            done = claim.state is _ENDS.get(change.what)
            return (Answer(OK, claim) if done else Answer(REFUSED)), state
        if change.what == "renew":
            changed = claim._replace(state=Phase.ACTIVE, left=LEASE)
        else:
            changed = claim._replace(state=_ENDS[change.what], left=0)
        state = state._replace(
            claims=tuple(changed if each is claim else each for each in state.claims)
        )
        if change.what == "complete":
            state = self.settle(state, changed)
        return Answer(OK, changed, changed=True), state

    def fits(self, claim: Claim, token: int | None) -> bool:
        """Whether a token is the claim's; an operator needs none."""
        return token in (None, claim.token)

    def active(self, claim: Claim, _change: Change) -> bool:
        """Whether a claim may still be changed."""
        return claim.state is Phase.ACTIVE

    def settle(self, state: State, claim: Claim) -> State:
        """What a completed claim leaves behind."""
        account = state.account_of(claim)
        settled = list(state.settled)
        settled[account] = max(settled[account], claim.revision)
        return state._replace(settled=tuple(settled))

    def put(self, state: State, liquidation: int, revision: int) -> tuple[Answer, State]:
        """Stores a snapshot where it is newer and the liquidation is not closed."""
        stored = state.liquidations[liquidation]
        if stored.closed or revision <= stored.revision:
            return Answer(OK), state
        kept = list(state.liquidations)
        kept[liquidation] = stored._replace(revision=revision)
        return Answer(OK, changed=True), state._replace(liquidations=tuple(kept))

    def close(self, state: State, close: Close) -> tuple[Answer, State]:
        """Ends a liquidation, for good; not while a claim on it is active."""
        stored = state.liquidations[close.liquidation]
        if stored.closed or not stored.revision:
            return Answer(REFUSED), state
        if any(
            claim.state is Phase.ACTIVE and claim.liquidation == close.liquidation
            for claim in state.claims
        ):
            return Answer(IN_PROCESS), state
        kept = list(state.liquidations)
        kept[close.liquidation] = stored._replace(closed=True)
        return Answer(OK, changed=True), state._replace(liquidations=tuple(kept))

    def wait(self, state: State, ticks: int) -> State:
        """Leases run, and are over for everybody at the moment they run out."""
        return state._replace(claims=tuple(self.later(claim, ticks) for claim in state.claims))

    def later(self, claim: Claim, ticks: int) -> Claim:
        """A claim some ticks later."""
        if claim.state is not Phase.ACTIVE:
            return claim
        if claim.left <= ticks:
            return claim._replace(state=Phase.EXPIRED, left=0)
        return claim._replace(left=claim.left - ticks)

    def purge(self, state: State) -> State:
        """Forgets the claims that ended, and not what they settled."""
        active = tuple(claim for claim in state.claims if claim.state is Phase.ACTIVE)
        return state._replace(claims=active)

    def restart(self, state: State) -> State:
        """All that was committed is there again."""
        return state
