"""What a caller may send is kept as it came: every text, and numbers and ids at their bounds.

Both engines get the same cases, so that neither reads anything that the other does not.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.rules.model import (
    ClaimedPosition,
    ClaimState,
    Decision,
    Liquidation,
    StoredState,
    SymbolRatio,
    Terms,
)
from liquidation.rules.numbers import MAX_INT64, plain
from liquidation.store.base import BeginRequest, ClaimFilter
from liquidation.store.sqlite.clock import HostClock
from tests.store.awaited import AwaitedStore, awaited_postgres, awaited_sqlite
from tests.store.claiming import granted
from tests.store.postgres.databases import Databases
from tests.unit.deciding import stored
from tests.unit.drawing import amounts, liquidations, signed
from tests.unit.seeded import seeded

T = TypeVar("T")

NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
# What programs that put texts together stumble over; whatever Unicode has, but for the character
# that is refused before.
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


@dataclass
class Asked:
    """A store under test, and the loop that it runs on."""

    store: AwaitedStore
    runner: asyncio.Runner
    numbers: Iterator[int]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def new(self, snapshot: Liquidation) -> Liquidation:
        """The snapshot with an id that was not there before, small or large."""
        number = next(self.numbers)
        liquidation_id = number if snapshot.liquidation_id % 2 else MAX_INT64 - number
        return replace(snapshot, liquidation_id=liquidation_id)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def asked(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_databases: Databases,
) -> Iterator[Asked]:
    with asyncio.Runner() as runner, postgres_databases.lend() as dsn:
        store: AwaitedStore
        if request.param == "sqlite":
            store = awaited_sqlite(tmp_path_factory.mktemp("store") / "store.db", HostClock())
        else:
            store = awaited_postgres(dsn, timeout_s=10)
        yield Asked(store, runner, count(1))
        runner.run(store.aclose())


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


@seeded(60)
@given(liquidations())
def test_a_liquidation_is_read_as_it_was_put(asked: Asked, json_: dict[str, Any]) -> None:
    snapshot = asked.new(stored(json_))

    (put,) = asked.run(asked.store.put([snapshot]))

    assert (put.applied, put.opened, put.liquidation) == (True, True, snapshot)
    assert asked.run(asked.store.get(snapshot.liquidation_id)) == snapshot
    page = asked.run(asked.store.page(snapshot.account_id, snapshot.liquidation_id - 1, 1))
    assert page.liquidations == [snapshot]
    if snapshot.revision < MAX_INT64:
        newer = replace(snapshot, revision=MAX_INT64)
        (put,) = asked.run(asked.store.put([newer]))
        assert (put.applied, put.opened, put.liquidation) == (True, False, newer)
    assert asked.run(asked.store.close_liquidation(snapshot.liquidation_id)) == replace(
        snapshot, revision=MAX_INT64
    )


@seeded(60)
@given(st.data(), liquidations(), all_terms(), NAMES, REASONS)
def test_a_claim_is_read_as_it_was_granted(
    asked: Asked,
    data: st.DataObject,
    json_: dict[str, Any],
    terms: Terms,
    request_id: str,
    reason: str,
) -> None:
    snapshot = asked.new(stored(json_))
    decision = data.draw(decisions(snapshot))
    number = next(asked.numbers)
    request = BeginRequest(
        f"{number}{request_id}",
        f"claim-{number}",
        f"decision-{number}",
        replace(terms, liquidation_id=snapshot.liquidation_id),
        snapshot,
        data.draw(st.sampled_from([1_000_000, 300_000_000])),
    )

    def accept(_: StoredState) -> Decision:
        return decision

    begun = asked.run(asked.store.begin(request, accept))

    claim = granted(begun)
    assert (claim.terms, claim.positions) == (request.terms, decision.positions)
    for found in (
        asked.run(asked.store.claim(claim_id=claim.claim_id)),
        asked.run(asked.store.claim(request_id=request.request_id)),
        *asked.run(asked.store.claims(ClaimFilter(snapshot.account_id), None, 1)).claims,
    ):
        assert found == claim
    again = asked.run(asked.store.begin(replace(request, claim_id="", decision_id=""), accept))
    assert (again.known, again.claim, again.decision_id) == (True, claim, request.decision_id)
    assert again.decision == replace(decision, positions=())
    ended = asked.run(
        asked.store.end(claim.claim_id, claim.fencing_token, ClaimState.CANCELLED, reason)
    )
    assert ended.claim is not None
    assert ended.claim == replace(
        claim, state=ClaimState.CANCELLED, end_us=ended.claim.end_us, end_reason=reason
    )
    assert asked.run(asked.store.claim(claim_id=claim.claim_id)) == ended.claim
    assert asked.run(asked.store.history(claim.claim_id))[-1].reason == reason


@pytest.mark.parametrize("token", [MAX_INT64, -(2**63), -1, 0])
def test_tokens_at_the_bounds_fit_no_claim(asked: Asked, token: int) -> None:
    snapshot = asked.new(SNAPSHOT)
    terms = replace(TERMS, liquidation_id=snapshot.liquidation_id)
    name = f"bounds-{token}"
    request = BeginRequest(name, name, "decision", terms, snapshot, 1_000_000)
    claim = granted(asked.run(asked.store.begin(request, lambda _: Decision(None, "rules-1"))))

    renewed = asked.run(asked.store.renew(claim.claim_id, token, 1_000_000))
    ended = asked.run(asked.store.end(claim.claim_id, token, ClaimState.COMPLETED, ""))

    assert (renewed.applied, ended.applied) == (False, False)
    assert asked.run(asked.store.end(claim.claim_id, None, ClaimState.CANCELLED, "")).applied
    below = asked.run(asked.store.claims(ClaimFilter(), token, 1)).claims
    assert all(each.fencing_token < token for each in below)


SNAPSHOT = stored(
    {
        "liquidation_id": "1",
        "account_id": "bounds",
        "tier": "TIER_LOW",
        "positions": [{"symbol": "S", "position_qty": "1", "mark_price": "1"}],
        "margin_ratio": "0",
        "maintenance_margin_ratio": "1",
        "revision": "1",
    }
)
TERMS = Terms(1, "liquidator-1", Decimal(1), Decimal(0))
