"""Protocols with one error each, of the kind that is easily made: every one must be found."""

from typing import Final, NamedTuple

from tests.attacks.model.protocol import Protocol
from tests.attacks.model.state import (
    IN_PROCESS,
    LEASE,
    OK,
    REFUSED,
    Answer,
    Begin,
    Change,
    Claim,
    Close,
    Liquidation,
    Phase,
    State,
)
from tests.attacks.model.world import Bounds

# The caller whose own clock is behind that of the store.
_LATE: Final = 0


class LeaseByTheCallersClock(Protocol):
    """A caller that is late completes a claim whose lease ran out."""

    def active(self, claim: Claim, change: Change) -> bool:
        late = change.request == _LATE and claim.state is Phase.EXPIRED
        return late or super().active(claim, change)


class LeaseThatTheBackgroundEnds(Protocol):
    """An account is free when a background has come by, not when the lease runs out."""

    def holder(self, state: State, liquidation: int) -> Claim | None:
        account = state.liquidations[liquidation].account
        for claim in state.claims:
            if claim.state in (Phase.ACTIVE, Phase.EXPIRED) and state.account_of(claim) == account:
                return claim
        return None


class LeaseThatLastsATickTooLong(Protocol):
    """It is over after its last moment, not at it."""

    def later(self, claim: Claim, ticks: int) -> Claim:
        if claim.state is Phase.ACTIVE and claim.left == ticks:
            return claim._replace(left=0)
        return super().later(claim, ticks)


class RenewedAfterItRanOut(Protocol):
    """A renewal of a claim that is over brings it back."""

    def active(self, claim: Claim, change: Change) -> bool:
        revived = change.what == "renew" and claim.state is Phase.EXPIRED
        return revived or super().active(claim, change)


class RetryTakenForNew(Protocol):
    """Nobody looks whether the request_id is known."""

    def known(self, _state: State, _begin: Begin) -> Claim | None:
        return None


class RetryFindsItsOwnClaimInTheWay(Protocol):
    """The slot is looked at before the request_id."""

    def begin(self, state: State, begin: Begin) -> tuple[Answer, State]:
        if self.holder(state, begin.liquidation) is not None:
            return Answer(IN_PROCESS), state
        return super().begin(state, begin)


class RetryOfAClaimThatEndedIsNew(Protocol):
    """A request_id is remembered only while its claim is active."""

    def known(self, state: State, begin: Begin) -> Claim | None:
        claim = state.claim_of(begin.request)
        return claim if claim is not None and claim.state is Phase.ACTIVE else None


class OtherTermsGetTheFirstAnswer(Protocol):
    """The request_id alone is compared."""

    def again(self, before: Claim, _begin: Begin) -> Answer:
        return Answer(OK, before)


class RetryStoresItsSnapshot(Protocol):
    """A request that is known writes all the same."""

    def begin(self, state: State, begin: Begin) -> tuple[Answer, State]:
        _, stored = self.put(state, begin.liquidation, begin.revision)
        return super().begin(stored, begin)


class TokenFromTheClaimsThatAreKept(Protocol):
    """The next token is one more than the greatest kept: a purge sets it back."""

    def next_token(self, state: State) -> int:
        return max((each.token for each in state.claims), default=0) + 1


class TokenCountedInMemory(Protocol):
    """A restart counts from the start again."""

    def restart(self, state: State) -> State:
        return state._replace(counter=0)


class TokenThatNobodyLooksAt(Protocol):
    """Whoever knows the claim_id may end the claim."""

    def fits(self, _claim: Claim, _token: int | None) -> bool:
        return True


class SlotOfALiquidation(Protocol):
    """One active claim a liquidation, not an account."""

    def holder(self, state: State, liquidation: int) -> Claim | None:
        claim = super().holder(state, liquidation)
        return claim if claim is not None and claim.liquidation == liquidation else None


class CompletedSettlesNothing(Protocol):
    """The positions that were transferred are claimed again."""

    def settle(self, state: State, _claim: Claim) -> State:
        return state


class SettledRevisionIsTakenForNew(Protocol):
    """The revision of the completed claim itself is let in."""

    def refreshed(self, state: State, account: int, revision: int) -> bool:
        return revision >= state.settled[account]


class PurgeForgetsWhatWasSettled(Protocol):
    """What an account's last claim settled goes with the claim."""

    def purge(self, state: State) -> State:
        return super().purge(state)._replace(settled=(0,) * len(state.settled))


class PurgeTakesActiveClaims(Protocol):
    """What is old is purged, whether or not it ended."""

    def purge(self, state: State) -> State:
        return super().purge(state)._replace(claims=())


class AnsweredBeforeItIsOnDisk(Protocol):
    """A restart loses what was granted last."""

    def restart(self, state: State) -> State:
        return state._replace(claims=state.claims[:-1])


class LeaseThatARestartEnds(Protocol):
    """A restart ends the leases that were under way, as if time had passed."""

    def restart(self, state: State) -> State:
        return self.wait(state, LEASE)


class StaleSnapshotIsDecidedOn(Protocol):
    """What the request brings counts, though a newer one is stored."""

    def decided_on(self, liquidation: Liquidation, begin: Begin) -> int:
        return begin.revision or liquidation.revision


class OldSnapshotOverwrites(Protocol):
    """The last snapshot to arrive is stored, newer or not."""

    def put(self, state: State, liquidation: int, revision: int) -> tuple[Answer, State]:
        kept = list(state.liquidations)
        kept[liquidation] = kept[liquidation]._replace(revision=revision)
        return Answer(OK, changed=True), state._replace(liquidations=tuple(kept))


class CancelledAfterCompleted(Protocol):
    """An end is overwritten by the next one."""

    def active(self, claim: Claim, _change: Change) -> bool:
        return claim.state in (Phase.ACTIVE, Phase.COMPLETED)


class CompletedOnceOnly(Protocol):
    """Who asks again, because the answer was lost, is told that the claim is over."""

    def change(self, state: State, change: Change) -> tuple[Answer, State]:
        answer, after = super().change(state, change)
        return (answer if answer.changed or answer.code else Answer(REFUSED)), after


class ClosedUnderAClaim(Protocol):
    """A liquidation ends while a claim on it is carried out."""

    def close(self, state: State, close: Close) -> tuple[Answer, State]:
        return super().close(state._replace(claims=()), close)


class Mutant(NamedTuple):
    """A protocol, a world where its error can show, and the promise that it breaks in so few steps.

    Judged by that promise alone: which others it breaks on the way does not count.
    """

    protocol: type[Protocol]
    bounds: Bounds
    breaks: str
    steps: int


_ONE: Final = Bounds(accounts=(0,), requests=1)
_STALE: Final = Bounds(accounts=(0,), requests=1, stale=True)
_TWO_TERMS: Final = Bounds(accounts=(0,), requests=1, terms=2)
_TWO_CLIENTS: Final = Bounds(accounts=(0,), requests=2)
_TWO_LIQUIDATIONS: Final = Bounds(accounts=(0, 0), requests=2)

MUTANTS: Final = (
    Mutant(LeaseByTheCallersClock, _ONE, "a_change_needs_an_active_claim_and_its_token", 3),
    Mutant(LeaseThatTheBackgroundEnds, _TWO_CLIENTS, "a_claim_is_refused_for_a_reason", 3),
    Mutant(LeaseThatLastsATickTooLong, _ONE, "a_lease_ends_by_the_store_s_clock_alone", 2),
    Mutant(RenewedAfterItRanOut, _ONE, "a_claim_stays_what_it_is", 3),
    Mutant(RetryTakenForNew, _ONE, "a_request_has_one_claim", 3),
    Mutant(RetryFindsItsOwnClaimInTheWay, _ONE, "the_same_request_gets_the_first_answer", 2),
    Mutant(RetryOfAClaimThatEndedIsNew, _ONE, "a_request_has_one_claim", 3),
    Mutant(OtherTermsGetTheFirstAnswer, _TWO_TERMS, "the_same_request_gets_the_first_answer", 2),
    Mutant(RetryStoresItsSnapshot, _ONE, "a_snapshot_is_stored_where_it_is_newer", 2),
    Mutant(TokenFromTheClaimsThatAreKept, _ONE, "tokens_only_grow", 4),
    Mutant(TokenCountedInMemory, _TWO_CLIENTS, "tokens_only_grow", 5),
    Mutant(TokenThatNobodyLooksAt, _ONE, "a_change_needs_an_active_claim_and_its_token", 2),
    Mutant(SlotOfALiquidation, _TWO_LIQUIDATIONS, "an_account_has_one_active_claim", 2),
    Mutant(CompletedSettlesNothing, _ONE, "what_was_settled_stays_so", 2),
    Mutant(
        SettledRevisionIsTakenForNew, _TWO_CLIENTS, "a_granted_claim_is_on_the_newest_revision", 3
    ),
    Mutant(PurgeForgetsWhatWasSettled, _ONE, "what_was_settled_stays_so", 3),
    Mutant(PurgeTakesActiveClaims, _ONE, "what_a_caller_was_told_stands", 2),
    Mutant(AnsweredBeforeItIsOnDisk, _ONE, "what_a_caller_was_told_stands", 2),
    Mutant(LeaseThatARestartEnds, _ONE, "a_crash_changes_nothing", 2),
    Mutant(StaleSnapshotIsDecidedOn, _STALE, "a_granted_claim_is_on_the_newest_revision", 3),
    Mutant(OldSnapshotOverwrites, _STALE, "a_snapshot_is_stored_where_it_is_newer", 3),
    Mutant(CancelledAfterCompleted, _ONE, "what_a_caller_was_told_stands", 3),
    Mutant(CompletedOnceOnly, _ONE, "a_change_needs_an_active_claim_and_its_token", 3),
    Mutant(ClosedUnderAClaim, _ONE, "a_liquidation_stays_open_under_a_claim", 2),
)
