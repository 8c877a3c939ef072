"""A store that is held against the model: what is done to one is done to the other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Final, NamedTuple

from liquidation.rules import leases
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import Claim, ClaimRequest, ClaimState, Liquidation, StoredState
from liquidation.rules.policy import Policy
from liquidation.store.base import BeginRequest, ClaimActiveError, ClaimFilter, StateQuery
from tests.attacks.model import state as model
from tests.attacks.model.protocol import Protocol
from tests.attacks.model.state import Begin, Change, Close, Event, Phase, Put, State, Wait
from tests.attacks.model.world import Step
from tests.clocks import Clock
from tests.store.builders import snapshot, terms
from tests.store.conftest import OpenStore
from tests.store.stores import AwaitedStore

TICK_S: Final = 10
_LEASE_US: Final = model.LEASE * TICK_S * 1_000_000
_HOUR_S: Final = 3600
# Every claim that ended is old enough, also where the wall clock was set back since.
_ANY_AGE_US: Final = -100 * _HOUR_S * 1_000_000
_RATIOS: Final = ("1", "0.5", "0.75")
_ENDS: Final = {"complete": ClaimState.COMPLETED, "cancel": ClaimState.CANCELLED}


class Disagreement(AssertionError):  # noqa: N818 - it is what was found, not an error of the test
    """A store and the model say different things."""


class HeldStore:
    """A store that can be closed and opened again, and its clock."""

    def __init__(self, open_store: OpenStore, clock: Clock, *, wall_counts: bool) -> None:
        """`wall_counts` tells that leases go by the wall clock, which then must not jump."""
        self.clock = clock
        self._wall_counts = wall_counts
        self._jump_s = _HOUR_S
        self.greatest = 0
        self.numbers = count(1)
        self._open_store = open_store
        self._opened = AsyncExitStack()
        self.store: AwaitedStore

    async def restart(self) -> None:
        """Opens the store again, as a new process does: nothing was tidied up for it before."""
        last, self._opened = self._opened, AsyncExitStack()
        self.store = await self._opened.enter_async_context(self._open_store())
        await last.aclose()

    def set_wall(self) -> None:
        """Sets the wall clock, forth and back in turns, where leases do not go by it."""
        if not self._wall_counts:
            self.clock.set_wall(self._jump_s)
            self._jump_s = -self._jump_s

    async def aclose(self) -> None:
        await self._opened.aclose()


@asynccontextmanager
async def held(
    open_store: OpenStore, clock: Clock, *, wall_counts: bool
) -> AsyncIterator[HeldStore]:
    """An open store that any number of worlds are played in, one after the other."""
    store = HeldStore(open_store, clock, wall_counts=wall_counts)
    await store.restart()
    try:
        yield store
    finally:
        await store.aclose()


class Stood(NamedTuple):
    """What a store says of a liquidation and its account; a closed one has no revision."""

    revision: int
    closed: bool
    settled: int
    lease_left_s: int | None


class World:
    """One play of the model, in a store that may have seen others: names are all its own."""

    def __init__(self, held: HeldStore, state: State, protocol: Protocol | None = None) -> None:
        self.state = state
        self._held = held
        self._number = next(held.numbers)
        self._protocol = protocol or Protocol()
        self._tokens: dict[int, int] = {}
        self._claim_ids: dict[int, str] = {}

    async def does(self, action: model.Action) -> Step:
        """Does it in both worlds, and compares what is answered; the step of the model.

        Raises:
            Disagreement: they differ.
        """
        before = self.state
        expected, self.state = self._protocol.step(before, action)
        answered = await self._done(action, expected)
        if answered != _without_lease(expected):
            raise Disagreement(f"{action} in {before}: {answered}, not {expected}")
        return Step(action, expected, False, self.state)

    async def agrees(self) -> None:
        """Compares all that is stored of this world.

        Raises:
            Disagreement: it differs.
        """
        stands = await self._stands()
        if stands != [self._expected(number) for number in range(len(stands))]:
            raise Disagreement(f"{stands} in {self.state}")
        kept = []
        for account in range(len(self.state.settled)):
            wanted = ClaimFilter(account_id=self._account(account))
            page = await self._held.store.claims(wanted, None, 100)
            kept += [self._seen(claim) for claim in page.claims]
        if sorted(kept) != sorted(claim._replace(left=0) for claim in self.state.claims):
            raise Disagreement(f"{kept} are kept in {self.state}")

    async def _done(self, action: model.Action, expected: model.Answer) -> model.Answer:
        match action:
            case Begin():
                return await self._begin(action, expected)
            case Change():
                return await self._change(action)
            case Put():
                sent = self._snapshot(action.liquidation, action.revision)
                (put,) = await self._held.store.put([sent])
                return model.Answer(model.OK, changed=put.applied)
            case Close():
                return await self._close(action)
            case Wait():
                self._held.clock.advance(action.ticks * TICK_S)
            case Event():
                await self._happens(action)
        return model.Answer(model.OK)

    async def _begin(self, begin: Begin, expected: model.Answer) -> model.Answer:
        number = next(self._held.numbers)
        brought = None
        if begin.revision:
            brought = self._snapshot(begin.liquidation, begin.revision)
        asked = replace(
            terms(self._liquidation(begin.liquidation)),
            ratio_qty_request=Decimal(_RATIOS[begin.terms]),
        )
        request = BeginRequest(
            self._request(begin.request),
            f"claim-{number}",
            f"decision-{number}",
            asked,
            brought,
            _LEASE_US,
        )

        def by_the_rules(state: StoredState) -> Decision:
            return evaluate(Policy(), ClaimRequest(asked, brought), state)

        begun = await self._held.store.begin(request, by_the_rules)
        if begun.claim is None:
            assert begun.decision.refusal is not None, "the rules look at the slot"
            return model.Answer(begun.decision.refusal.row.code)
        if begun.known:
            if begun.claim.terms != asked:
                return model.Answer(leases.duplicate_request(begun.claim).row.code)
            return model.Answer(model.OK, self._seen(begun.claim))
        if begun.claim.fencing_token <= self._held.greatest:
            raise Disagreement(f"token {begun.claim.fencing_token} after {self._held.greatest}")
        self._held.greatest = begun.claim.fencing_token
        self._claim_ids[begin.request] = begun.claim.claim_id
        if expected.claim is not None:
            if expected.claim.token in self._tokens.values():
                raise Disagreement(f"{expected} has the token of another claim")
            self._tokens[begun.claim.fencing_token] = expected.claim.token
        return model.Answer(model.OK, self._seen(begun.claim), changed=True)

    async def _change(self, change: Change) -> model.Answer:
        claim_id = self._claim_ids.get(change.request, "no-such")
        token = None if change.token is None else self._token(change.token)
        store = self._held.store
        if change.what == "renew":
            assert token is not None
            changed = await store.renew(claim_id, token, _LEASE_US)
        else:
            changed = await store.end(claim_id, token, _ENDS[change.what], "")
        if not changed.applied:
            wanted = _ENDS.get(change.what, ClaimState.ACTIVE)
            refusal = leases.refused_change(changed.claim, claim_id, token, wanted)
            if refusal is not None:
                return model.Answer(refusal.row.code)
        assert changed.claim is not None
        return model.Answer(model.OK, self._seen(changed.claim), changed.applied)

    async def _close(self, close: Close) -> model.Answer:
        try:
            closed = await self._held.store.close_liquidation(self._liquidation(close.liquidation))
        except ClaimActiveError:
            return model.Answer(model.IN_PROCESS)
        return (
            model.Answer(model.REFUSED) if closed is None else model.Answer(model.OK, changed=True)
        )

    async def _happens(self, event: Event) -> None:
        store = self._held.store
        match event:
            case Event.PURGE:
                # A lease that ran out is purged once it is written down.
                await store.expire(1000)
                await store.purge(_ANY_AGE_US, 1000)
            case Event.WRITE_DOWN:
                await store.expire(1000)
            case Event.RESTART:
                await self._held.restart()
            case Event.SET_WALL:
                self._held.set_wall()

    def _seen(self, claim: Claim) -> model.Claim:
        """A claim in the words of the model, but for its lease, which the states tell."""
        return model.Claim(
            int(claim.request_id.rpartition("-")[2]),
            claim.terms.liquidation_id % 10,
            _RATIOS.index(str(claim.terms.ratio_qty_request)),
            claim.liquidation_revision,
            self._tokens.get(claim.fencing_token, -1),
            Phase(claim.state.name),
            left=0,
        )

    async def _stands(self) -> list[Stood]:
        queries = [
            StateQuery(self._liquidation(number), "nobody", self._account(each.account))
            for number, each in enumerate(self.state.liquidations)
        ]
        return list(map(_stood, await self._held.store.states(queries)))

    def _expected(self, number: int) -> Stood:
        stored = self.state.liquidations[number]
        holder = self._protocol.holder(self.state, number)
        return Stood(
            0 if stored.closed else stored.revision,
            stored.closed,
            self.state.settled[stored.account],
            None if holder is None else holder.left * TICK_S,
        )

    def _token(self, token: int) -> int:
        for real, of_model in self._tokens.items():
            if of_model == token:
                return real
        return self._held.greatest + 1

    def _account(self, number: int) -> str:
        return f"account-{self._number}-{number}"

    def _liquidation(self, number: int) -> int:
        return self._number * 10 + number

    def _request(self, number: int) -> str:
        return f"request-{self._number}-{number}"

    def _snapshot(self, number: int, revision: int) -> Liquidation:
        account = self.state.liquidations[number].account
        return snapshot(self._liquidation(number), revision, account_id=self._account(account))


def _without_lease(answer: model.Answer) -> model.Answer:
    return answer._replace(claim=answer.claim and answer.claim._replace(left=0))


def _stood(found: StoredState) -> Stood:
    stored, active = found.liquidation, found.active_claim
    return Stood(
        0 if stored is None or found.closed else stored.revision,
        found.closed,
        found.last_completed_revision or 0,
        None if active is None else int(active.lease_left_s),
    )
