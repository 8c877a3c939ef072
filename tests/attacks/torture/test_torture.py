"""The torture of claims in a short form, and the proof that its judge sees a broken promise."""

from pathlib import Path

import pytest

from tests.attacks.torture.engines import ENGINES
from tests.attacks.torture.history import Begin, Change, Found, History, violations
from tests.attacks.torture.run import Deaths, Plan, torture

SHORT = {
    "sqlite": Plan(
        operations=400, kills=2, stop_all_every=2, workers=2, clients=16, accounts=6, seed=3
    ),
    "postgres": Plan(
        engine="postgres",
        operations=250,
        kills=2,
        stop_all_every=2,
        database_kills=1,
        sidecars=2,
        workers=1,
        seed=3,
    ),
}
WITHOUT_INDEX = {
    "sqlite": Plan(operations=300, kills=0, workers=2, accounts=3, seed=3, drop_index=True),
    "postgres": Plan(
        engine="postgres",
        operations=200,
        kills=0,
        sidecars=2,
        workers=1,
        accounts=3,
        seed=3,
        drop_index=True,
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
async def test_through_kills_and_retries_every_promise_holds(engine: str, tmp_path: Path) -> None:
    plan = SHORT[engine]

    seen, deaths, history = await torture(plan, tmp_path)

    assert list(violations(history)) == []
    assert deaths == Deaths(plan.kills, full_stops=1, database_kills=plan.database_kills)
    assert seen.operations >= plan.operations
    assert len(history.found) > 20


@pytest.mark.parametrize("engine", ENGINES)
async def test_without_the_unique_index_the_judge_finds_two_claims_at_once(
    engine: str, tmp_path: Path
) -> None:
    _, _, history = await torture(WITHOUT_INDEX[engine], tmp_path)

    assert any(each.startswith("two at once") for each in violations(history))


def test_a_database_that_is_no_process_cannot_be_killed() -> None:
    with pytest.raises(ValueError, match="SQLite"):
        Plan(database_kills=1)


def claim(name: str, since: float, token: int, account: str = "a", request: str = "") -> Begin:
    return Begin(
        request or f"r-{name}", account, since, since + 0.1, 0, name, token, since + 2, False
    )


def history(
    begins: list[Begin],
    changes: list[Change] | None = None,
    found: dict[str, Found | None] | None = None,
    stuck: list[str] | None = None,
) -> History:
    known: dict[str, Found | None] = {
        each.claim_id: Found(each.claim_id, each.token, "EXPIRED") for each in begins
    }
    return History(2, begins, changes or [], known | (found or {}), stuck or [])


REFUSED_FOR_NOTHING = Begin("r", "b", 50, 50.1, -1012)

BROKEN = {
    "two at once": history([claim("one", 0, 1), claim("two", 1, 2)]),
    "two at once, renewed": history(
        [claim("one", 0, 1), claim("two", 3, 2)], [Change("one", "renew", 1.8, 1.9, 0, 3.8)]
    ),
    "granted twice": history([claim("one", 0, 1, request="r"), claim("two", 9, 2, request="r")]),
    "token shrank": history([claim("one", 0, 2, "a"), claim("two", 1, 1, "b")]),
    "lost": history([claim("one", 0, 1)], found={"one": None}),
    "lost, another token": history([claim("one", 0, 1)], found={"one": Found("one", 2, "ACTIVE")}),
    "lost, completed": history([claim("one", 0, 1)], [Change("one", "complete", 1, 1.1, 0)]),
    "refused for nothing": history([REFUSED_FOR_NOTHING]),
    "fault": history([], [Change("one", "renew", 1, 1.1, -1000)]),
    "stuck": history([], stuck=["account-1"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_judge_sees_a_broken_promise(name: str) -> None:
    (found,) = violations(BROKEN[name])

    assert found.startswith(name.partition(",")[0])


SOUND = {
    "one after the other": history([claim("one", 0, 1), claim("two", 2.01, 2)]),
    "ended before": history(
        [claim("one", 0, 1), claim("two", 1, 2)],
        [Change("one", "cancel", 0.5, 0.6, 0)],
        {"one": Found("one", 1, "CANCELLED")},
    ),
    "ended without answer": history(
        [claim("one", 0, 1), claim("two", 1, 2)], [Change("one", "cancel", 0.5, 0.6, None)]
    ),
    "other accounts": history([claim("one", 0, 1), claim("two", 0, 2, "b")]),
    "granted without answer, asked again": history(
        [Begin("r-one", "a", 0, 0.5, None), claim("two", 1, 2, "b"), claim("one", 2, 1)]
    ),
    "asked twice": history([claim("one", 0, 1), claim("one", 1, 1)]),
    "refused while one may be active": history(
        [Begin("r", "b", 49, 49.1, None), REFUSED_FOR_NOTHING]
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_the_judge_finds_nothing_where_nothing_is_broken(name: str) -> None:
    assert list(violations(SOUND[name])) == []
