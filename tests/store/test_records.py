"""What a value of the stores is, what it holds where nothing is said, and what is read off it."""

import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from inspect import isclass
from typing import Any, Final

import pytest

from liquidation import store
from liquidation.rules.model import ClaimState, Liquidation, StoredState
from liquidation.store.base import TIMEOUT_S
from liquidation.store.records import account_of, claim_from, is_news
from tests.store.claiming import begin_request
from tests.store.snapshots import snapshot

NOTHING_SAID: Final[dict[str, dict[str, object]]] = {
    "PutResult": {"opened": False, "closed": False},
    "BeginResult": {"known": False, "state": None, "put": None, "expired": ()},
    "ClaimFilter": {"account_id": "", "liquidation_id": 0, "state": None},
    "Change": {"lease_us": None, "state": None, "reason": None},
    "SchemaState": {"version": 0, "oldest_service": 0},
    "DatabaseStatus": {"holds": None, "uncounted": "", "sizes": {}},
    "FileStatus": {"size": 0, "log_size": 0, "holds": None},
    "_Table": {"json": frozenset()},
}


def values() -> Iterator[Any]:
    """Every dataclass of the stores."""
    for each in pkgutil.walk_packages(store.__path__, f"{store.__name__}."):
        module = import_module(each.name)
        for found in vars(module).values():
            if isclass(found) and is_dataclass(found) and found.__module__ == module.__name__:
                yield found


def defaults(made: Any) -> dict[str, object]:
    return {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(made)
        if each.default is not MISSING or each.default_factory is not MISSING
    }


def test_every_value_of_the_stores_is_frozen_and_has_slots() -> None:
    found = list(values())

    assert len(found) > 20
    for made in found:
        assert made.__dataclass_params__.frozen is True, made
        assert "__slots__" in vars(made), made


def test_what_is_not_said_of_a_value_is_nothing() -> None:
    found = {made.__name__: defaults(made) for made in values() if defaults(made)}

    assert found == NOTHING_SAID


def test_a_caller_waits_for_a_store_for_two_seconds_unless_told_otherwise() -> None:
    assert TIMEOUT_S == 2.0


@pytest.mark.parametrize(
    ("brought", "known", "news"),
    [
        (None, StoredState(), False),
        (None, StoredState(snapshot(1)), False),
        (snapshot(1), StoredState(), True),
        (snapshot(1, revision=2), StoredState(snapshot(1, revision=1)), True),
        (snapshot(1, revision=2), StoredState(snapshot(1, revision=2)), False),
        (snapshot(1, revision=1), StoredState(snapshot(1, revision=2)), False),
        (snapshot(1, revision=2), StoredState(snapshot(1, revision=1), closed=True), False),
    ],
)
def test_a_snapshot_is_news_where_it_is_newer_than_what_is_known(
    brought: Liquidation | None, known: StoredState, news: bool
) -> None:
    assert is_news(brought, known) is news


@pytest.mark.parametrize(
    ("brought", "known", "account"),
    [
        (None, StoredState(), None),
        (None, StoredState(snapshot(1, account_id="known")), "known"),
        (snapshot(1, account_id="brought"), StoredState(), "brought"),
        (
            snapshot(1, account_id="brought"),
            StoredState(snapshot(1, account_id="known")),
            "brought",
        ),
    ],
)
def test_a_request_is_about_the_account_of_its_snapshot_else_of_the_one_known(
    brought: Liquidation | None, known: StoredState, account: str | None
) -> None:
    assert account_of(begin_request(None, brought), known) == account


@pytest.mark.parametrize(
    ("state", "over", "told"),
    [
        ("ACTIVE", False, (ClaimState.ACTIVE, None, "")),
        ("ACTIVE", True, (ClaimState.EXPIRED, 20, "The lease ran out.")),
        ("CANCELLED", True, (ClaimState.CANCELLED, 15, "why")),
    ],
)
def test_a_claim_whose_lease_ran_out_is_expired_whatever_is_written_down(
    state: str, over: bool, told: tuple[ClaimState, int | None, str]
) -> None:
    terms = {
        "liquidation_id": 1,
        "liquidator_id": "liquidator-1",
        "ratio_qty_request": "1",
        "extra_liquidation_ratio": "0",
    }
    end_us, reason = (None, "") if state == "ACTIVE" else (15, "why")
    row: tuple[Any, ...] = (7, "claim-1", "request-1", "account-1", terms, [], 3, state, reason)

    claim = claim_from(row, 10, 20, end_us, over=over)

    assert (claim.state, claim.end_us, claim.end_reason) == told
