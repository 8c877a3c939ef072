"""What the contract promises, each a function that is False where the promise is broken.

Some hold in every state, the others over every transition. They look at what was there before, at
the answer and at what is there after, and know nothing of how a protocol comes to it.
"""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final

from tests.attacks.model.state import (
    DUPLICATED,
    IN_PROCESS,
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
    Forget,
    Phase,
    Put,
    State,
    Wait,
)
from tests.attacks.model.world import Step

_ENDED_BY: Final = {"complete": Phase.COMPLETED, "cancel": Phase.CANCELLED}


def an_account_has_one_active_claim(state: State) -> bool:
    """Section 7, 1."""
    held = [state.account_of(each) for each in state.claims if each.state is Phase.ACTIVE]
    return len(held) == len(set(held))


def a_request_has_one_claim(state: State) -> bool:
    """Section 7, 4: the same request_id is the same claim, however often it comes."""
    return len({each.request for each in state.claims}) == len(state.claims)


def what_a_caller_was_told_stands(state: State) -> bool:
    """Section 7, 7: an acknowledged claim is never lost, and an acknowledged end stays."""
    for request, told in enumerate(state.told):
        if told is None:
            continue
        claim = state.claim_of(request)
        if claim is None or claim.token != told.token:
            return False
        if told.state not in (Phase.ACTIVE, claim.state):
            return False
    return True


def tokens_only_grow(before: State, step: Step) -> bool:
    """Section 7, 2: over restarts and deletions."""
    known = {each.token for each in before.claims}
    return all(each.token in known or each.token > before.greatest for each in step.after.claims)


def a_claim_stays_what_it_is(before: State, step: Step) -> bool:
    """An end is final, and nothing but a purge forgets a claim, and then one that ended."""
    after = {each.token: each for each in step.after.claims}
    for claim in before.claims:
        now = after.get(claim.token)
        ended = claim.state is not Phase.ACTIVE
        if now is None:
            if not (ended and step.action is Event.PURGE):
                return False
        elif now != claim and (ended or now[:5] != claim[:5]):
            return False
    return True


def a_lease_ends_by_the_store_s_clock_alone(before: State, step: Step) -> bool:
    """Section 7, 3: at the moment it runs out, no sooner and no later."""
    ticks = step.action.ticks if isinstance(step.action, Wait) else 0
    after = {each.token: each for each in step.after.claims}
    for claim in before.claims:
        now = after.get(claim.token)
        if claim.state is Phase.ACTIVE and now is not None:
            over = claim.left <= ticks
            if over is not (now.state is Phase.EXPIRED):
                return False
    return True


def a_change_needs_an_active_claim_and_its_token(before: State, step: Step) -> bool:
    """Section 7, 2, 3 and 5: late is refused, an end is given again, and nothing else is."""
    action = step.action
    if not isinstance(action, Change):
        return True
    claim = before.claim_of(action.request)
    return step.answer.code == _code_of_change(action, claim) and (
        _same_store(before, step.after)
        or (step.answer.changed and claim is not None and claim.state is Phase.ACTIVE)
    )


def _code_of_change(change: Change, claim: Claim | None) -> int:
    if claim is None:
        return NOT_FOUND
    fits = change.token is None or change.token == claim.token
    free = claim.state is Phase.ACTIVE or claim.state is _ENDED_BY.get(change.what)
    return OK if fits and free else REFUSED


def the_same_request_gets_the_first_answer(before: State, step: Step) -> bool:
    """Section 7, 4: the claim as it stands, never -1012; with other terms -1007."""
    action = step.action
    claim = before.claim_of(action.request) if isinstance(action, Begin) else None
    if not isinstance(action, Begin) or claim is None:
        return True
    same = (claim.liquidation, claim.terms) == (action.liquidation, action.terms)
    expected = Answer(OK, claim) if same else Answer(DUPLICATED)
    return step.answer == expected and _same_store(before, step.after)


def a_claim_is_refused_for_a_reason(before: State, step: Step) -> bool:
    """Rules 6 and 8: -1202 without an open liquidation, -1012 by a claim, and else granted."""
    action = step.action
    if not isinstance(action, Begin) or before.claim_of(action.request) is not None:
        return True
    stored = before.liquidations[action.liquidation]
    revision = max(stored.revision, action.revision)
    held = any(
        each.state is Phase.ACTIVE and before.account_of(each) == stored.account
        for each in before.claims
    )
    if stored.closed or not revision:
        expected = REFUSED
    elif held or revision <= before.settled[stored.account]:
        expected = IN_PROCESS
    else:
        expected = OK
    granted = step.after.claim_of(action.request)
    return step.answer.code == expected and (granted is not None) is (expected == OK)


def a_granted_claim_is_on_the_newest_revision(before: State, step: Step) -> bool:
    """Section 3: a stale snapshot is not used; section 7, 6: it is above what was settled."""
    action, claim = step.action, step.answer.claim
    if not (isinstance(action, Begin) and step.answer.changed and claim is not None):
        return True
    stored = before.liquidations[action.liquidation]
    return (
        claim.revision
        == max(stored.revision, action.revision)
        == step.after.liquidations[action.liquidation].revision
    ) and claim.revision > before.settled[stored.account]


def what_was_settled_stays_so(before: State, step: Step) -> bool:
    """Section 7, 6: a completed claim settles its revision, over purges and for good."""
    settled = list(before.settled)
    claim = step.answer.claim
    if isinstance(step.action, Change) and step.action.what == "complete" and step.answer.changed:
        assert claim is not None
        account = before.account_of(claim)
        settled[account] = max(settled[account], claim.revision)
    return step.after.settled == tuple(settled)


def a_snapshot_is_stored_where_it_is_newer(before: State, step: Step) -> bool:
    """Section 3: with a claim or alone, granted or refused; not with a claim that was known."""
    action = step.action
    expected = list(before.liquidations)
    begun = isinstance(action, Begin) and before.claim_of(action.request) is None
    if begun or isinstance(action, Put):
        assert isinstance(action, Begin | Put)
        stored = expected[action.liquidation]
        if not stored.closed:
            newer = max(stored.revision, action.revision)
            expected[action.liquidation] = stored._replace(revision=newer)
    elif isinstance(action, Close) and step.answer.code == OK:
        expected[action.liquidation] = expected[action.liquidation]._replace(closed=True)
    return step.after.liquidations == tuple(expected)


def a_liquidation_stays_open_under_a_claim(before: State, step: Step) -> bool:
    """Section 3: -1012 while a claim on it is active, -1202 where there is none to close."""
    if not isinstance(step.action, Close):
        return True
    number = step.action.liquidation
    stored = before.liquidations[number]
    held = any(each.liquidation == number and each.state is Phase.ACTIVE for each in before.claims)
    open_ = bool(stored.revision) and not stored.closed
    return step.answer.code == (OK if open_ and not held else IN_PROCESS if open_ else REFUSED)


def a_crash_changes_nothing(before: State, step: Step) -> bool:
    """Section 7, 2 and 7: nor does another clock, the background, or a caller's end."""
    silent = (Event.RESTART, Event.SET_WALL, Event.WRITE_DOWN)
    if step.action in silent or isinstance(step.action, Forget):
        return _same_store(before, step.after)
    return True


def _same_store(before: State, after: State) -> bool:
    return before._replace(told=()) == after._replace(told=())


_Transition = Callable[[State, Step], bool]

_OF_STATES: Final[tuple[Callable[[State], bool], ...]] = (
    an_account_has_one_active_claim,
    a_request_has_one_claim,
    what_a_caller_was_told_stands,
)
# Over transitions that change something.
_OF_CHANGES: Final[tuple[_Transition, ...]] = (
    tokens_only_grow,
    a_claim_stays_what_it_is,
    a_lease_ends_by_the_store_s_clock_alone,
    what_was_settled_stays_so,
    a_snapshot_is_stored_where_it_is_newer,
    a_crash_changes_nothing,
)
# Over transitions of one kind, that change something or not.
_OF_KIND: Final[Mapping[type[Action], tuple[_Transition, ...]]] = {
    Begin: (
        the_same_request_gets_the_first_answer,
        a_claim_is_refused_for_a_reason,
        a_granted_claim_is_on_the_newest_revision,
        a_snapshot_is_stored_where_it_is_newer,
    ),
    Change: (a_change_needs_an_active_claim_and_its_token, what_was_settled_stays_so),
    Put: (a_snapshot_is_stored_where_it_is_newer,),
    Close: (a_liquidation_stays_open_under_a_claim, a_snapshot_is_stored_where_it_is_newer),
    Wait: (a_lease_ends_by_the_store_s_clock_alone,),
    Event: (),
    Forget: (),
}


_OF_CHANGES_OF_KIND: Final = {
    kind: tuple(dict.fromkeys([*own, *_OF_CHANGES])) for kind, own in _OF_KIND.items()
}
PROMISES: Final = frozenset(
    each.__name__ for each in chain(_OF_STATES, *_OF_CHANGES_OF_KIND.values())
)


def broken_in(state: State) -> list[str]:
    """The names of the invariants that a state breaks."""
    return [each.__name__ for each in _OF_STATES if not each(state)]


def broken_by(before: State, step: Step) -> list[str]:
    """The names of the invariants that a transition breaks."""
    asked = _OF_KIND if step.after is before else _OF_CHANGES_OF_KIND
    return [each.__name__ for each in asked[type(step.action)] if not each(before, step)]
