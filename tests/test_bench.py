"""The benchmarks run, in a short form; their speed is theirs to tell, not the tests'.

What they compare is looked at: a baseline that does not commit one by one would still give figures.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import group_commit, shared_store
from bench.claims import IN_FLIGHT, begins
from bench.log_stats import compare, write
from bench.many_liquidations import measure
from bench.shared_store import CONTESTANTS, MANY_KEPT, THREE_SIDECARS, WITH_STANDBY, Places
from bench.stores import GROUPED, ONE_AT_A_TIME, ONE_BY_ONE, keep, opened
from liquidation.rules.model import ClaimState
from liquidation.store.base import ClaimFilter
from liquidation.store.locations import PostgresDatabase

CALLS = 64


@pytest.fixture
def places(tmp_path: Path, postgres_database: str) -> Places:
    return Places(tmp_path, {"postgres": postgres_database, "pair": postgres_database})


def test_many_liquidations_stay_out_of_memory() -> None:
    figures = measure(few=10, many=10_000, rounds=2, calls=20)

    assert figures["resident_mib"] < 200
    assert figures["ratio"] > 0


def test_a_log_is_counted_as_well_as_parsed(tmp_path: Path) -> None:
    write(tmp_path / "x.log", 2_000)

    assert all(seconds > 0 for seconds in compare(tmp_path / "x.log", 2_000))


async def test_groups_are_compared_with_one_commit_a_claim(tmp_path: Path) -> None:
    store = await group_commit.compare_stores(tmp_path, 1, CALLS)
    sidecars = await group_commit.compare_sidecars(tmp_path, 1, CALLS)

    assert store["grouped / one by one"]["rate at 64"] > 0
    writes = sidecars["writes a commit, all rounds"]
    assert writes["one by one"] == writes["one by one, again"] == 1
    assert writes["grouped"] > 1


async def test_two_processes_on_one_file_are_compared(tmp_path: Path) -> None:
    figures = await group_commit.fairness(tmp_path, rounds=1, claims=CALLS)

    assert figures["worst of all rounds"] >= 1


async def test_claims_on_the_shared_store_are_compared(places: Places) -> None:
    kept = {name: replace(each, kept=CALLS) for name, each in MANY_KEPT.items()}
    contestants = {**CONTESTANTS, **WITH_STANDBY, **kept}

    figures = await shared_store.claims(places, contestants, 1, CALLS, grpc=False)

    for name in contestants:
        assert figures[f"{name}, 1 in flight"]["p50_ms"] > 0
        assert figures[f"{name}, 64 in flight"]["p99_ms"] > 0
    assert figures["grouped / one by one"]["rate at 64"] > 0


async def test_a_store_is_filled_with_claims_that_have_ended(places: Places) -> None:
    place = places.new("postgres")
    assert isinstance(place, PostgresDatabase)

    async with opened(place, GROUPED) as store:
        await begins(store)(1)
        keep(place.url, CALLS)

        assert await store.count_active() == 1
        page = await store.claims(ClaimFilter(state=ClaimState.COMPLETED), None, 2 * CALLS)
        assert len(page.claims) == CALLS


async def test_sidecars_on_the_shared_store_are_compared(places: Places) -> None:
    figures = await shared_store.claims(places, THREE_SIDECARS, 1, CALLS, grpc=True)

    assert figures["three sidecars, 64 in flight"]["per_second"] > 0


async def test_checks_on_the_shared_store_are_compared(places: Places) -> None:
    figures = await shared_store.checks(places, 1, CALLS)

    assert figures["PostgreSQL / SQLite"]["p50 at 1"] > 0


@pytest.mark.parametrize("grpc", [False, True])
async def test_the_baseline_commits_each_claim_by_itself(places: Places, grpc: bool) -> None:
    async def claims_a_commit(name: str) -> float:
        counted = await shared_store.commits(places, CONTESTANTS[name], CALLS, IN_FLIGHT, grpc=grpc)
        return counted["claims a commit"]

    assert await claims_a_commit("one by one") == 1
    assert await claims_a_commit("grouped") > 1


async def test_a_lone_claim_takes_two_round_trips_and_groups_share_theirs(places: Places) -> None:
    alone = await shared_store.trips(places, GROUPED, CALLS, 1)
    together = await shared_store.trips(places, GROUPED, CALLS, IN_FLIGHT)

    # One of many may have been asked again.
    assert 2 <= alone["round trips a claim"] < 2.1
    assert together["round trips a claim"] < 1


async def test_one_at_a_time_is_one_and_one_by_one_are_several(places: Places) -> None:
    one = await shared_store.trips(places, ONE_AT_A_TIME, CALLS, IN_FLIGHT)
    several = await shared_store.trips(places, ONE_BY_ONE, CALLS, IN_FLIGHT)

    assert one["round trips at once, at most"] == 1
    assert several["round trips at once, at most"] > 1
