"""Every store keeps what a caller may send: any text, and numbers and ids at their bounds."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liquidation.rules.decision import Decision
from liquidation.rules.model import ClaimedPosition, ClaimState, Liquidation, SymbolRatio, Terms
from liquidation.rules.numbers import MAX_INT64, plain
from liquidation.store.base import ClaimFilter
from tests.store.builders import accept_all, begin_request, claimed, granted, of_account
from tests.store.stores import AwaitedStore
from tests.unit.deciding import stored
from tests.unit.drawing import amounts, liquidations, signed
from tests.unit.seeded import seeded

CASES = settings(
    seeded(30),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
# Texts that break programs which put texts together, and any of Unicode but U+0000, which is
# refused before.
REASONS = st.one_of(
    st.sampled_from(
        [
            "",
            "%s %(rows)s %%",
            "{} {0} ${1} $1",
            "'; DROP TABLE claim; --",
            '"\\u0000 \\ud800 \\\\',
            "\u2028\x85\x1b[0m\x7f\ufeff",
            "\U0001f4a5" * 256,
            "é" * 256,
        ]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=256),
)


class Drawn:
    """A store that is asked outside of any running loop, as properties are."""

    def __init__(self, store: AwaitedStore) -> None:
        self.store = store
        self._numbers = count(1)

    def new(self, snapshot: Liquidation) -> Liquidation:
        """The snapshot with an id that was not there before, small or large."""
        number = next(self._numbers)
        liquidation_id = number if snapshot.liquidation_id % 2 else MAX_INT64 - number
        return replace(snapshot, liquidation_id=liquidation_id)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def drawn(store: AwaitedStore) -> Drawn:
    return Drawn(store)


@st.composite
def all_terms(draw: st.DrawFn) -> Terms:
    symbols = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    named = draw(st.booleans())
    return Terms(
        1,
        draw(NAMES),
        None if named else Decimal(draw(amounts())),
        Decimal(draw(amounts())),
        tuple(SymbolRatio(each, Decimal(draw(amounts()))) for each in symbols) if named else (),
        {each: Decimal(draw(signed())) for each in draw(st.permutations(symbols))},
    )


@st.composite
def decisions(draw: st.DrawFn, snapshot: Liquidation) -> Decision:
    huge = plain(Decimal(f"{draw(st.integers(0, 10**72))}E-36"))
    return Decision(
        None,
        draw(NAMES),
        total_notional=huge,
        least_req_ratio=draw(st.sampled_from(["", "0.3334"])),
        margin_ratio=plain(Decimal(draw(signed()))),
        maintenance_margin_ratio=plain(Decimal(draw(amounts()))),
        liquidation_revision=snapshot.revision,
        account_id=snapshot.account_id,
        positions=tuple(
            ClaimedPosition(each.symbol, plain(each.position_qty), plain(each.mark_price), huge)
            for each in snapshot.positions
        ),
    )


@CASES
@given(liquidations())
def test_a_liquidation_is_read_as_it_was_put(drawn: Drawn, json_: dict[str, Any]) -> None:
    sent, store = drawn.new(stored(json_)), drawn.store
    newer = replace(sent, revision=MAX_INT64)

    async def put_and_read() -> None:
        (put,) = await store.put([sent])
        assert (put.applied, put.opened, put.liquidation) == (True, True, sent)
        assert await store.get(sent.liquidation_id) == sent
        page = await store.page(sent.account_id, sent.liquidation_id - 1, 1)
        assert page.liquidations == [sent]
        (put,) = await store.put([newer])
        assert (put.applied, put.liquidation) == (sent.revision < MAX_INT64, newer)
        assert await store.close_liquidation(sent.liquidation_id) == newer

    asyncio.run(put_and_read())


@CASES
@given(st.data(), liquidations(), all_terms(), NAMES, REASONS)
def test_a_claim_is_read_as_it_was_granted(
    drawn: Drawn,
    data: st.DataObject,
    json_: dict[str, Any],
    terms: Terms,
    request_id: str,
    reason: str,
) -> None:
    brought, store = drawn.new(stored(json_)), drawn.store
    decision = data.draw(decisions(brought))
    request = begin_request(None, brought, lease_s=data.draw(st.sampled_from([1, 300])))
    request = replace(
        request,
        request_id=f"{request.claim_id}{request_id}"[:64],
        terms=replace(terms, liquidation_id=brought.liquidation_id),
    )

    async def begin_and_read() -> None:
        begun = await store.begin(request, lambda _: decision)
        claim = granted(begun)
        assert (claim.terms, claim.positions) == (request.terms, decision.positions)
        assert await store.claim(claim_id=claim.claim_id) == claim
        assert await store.claim(request_id=request.request_id) == claim
        assert (await store.claims(ClaimFilter(brought.account_id), None, 1)).claims == [claim]
        again = await store.begin(replace(request, claim_id="", decision_id=""), accept_all)
        assert (again.known, again.claim, again.decision_id) == (True, claim, request.decision_id)
        assert again.decision == replace(decision, positions=())
        ended = await store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, reason)
        assert ended.claim is not None
        over = replace(claim, state=ClaimState.CANCELLED, end_reason=reason)
        assert ended.claim == replace(over, end_us=ended.claim.end_us)
        assert await store.claim(claim_id=claim.claim_id) == ended.claim
        assert (await store.history(claim.claim_id))[-1].reason == reason

    asyncio.run(begin_and_read())


@pytest.mark.parametrize("token", [MAX_INT64, -(2**63)])
async def test_a_page_may_begin_at_any_token(store: AwaitedStore, token: int) -> None:
    claim = await claimed(store, snapshot=of_account(1))

    page = await store.claims(below=token)

    assert page.claims == ([claim] if token > 0 else [])
