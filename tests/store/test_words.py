"""What a store is asked about a request, and the words of what it refuses."""

from decimal import Decimal

import pytest

from liquidation.rules.model import ActiveClaim, Terms
from liquidation.store.base import AccountMismatchError, ClaimActiveError, StateQuery
from tests.store.snapshots import snapshot

TERMS = Terms(7, "liquidator-1", Decimal(1), Decimal(0))


def test_a_request_asks_about_the_account_of_the_snapshot_that_it_brought() -> None:
    brought = snapshot(7, account_id="account-2")

    assert StateQuery.about(TERMS, brought) == (7, "liquidator-1", "account-2")


def test_a_request_without_a_snapshot_asks_about_no_account_by_name() -> None:
    assert StateQuery.about(TERMS, None) == (7, "liquidator-1", "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AccountMismatchError(3), "liquidation 3 of the call belongs to another account"),
        (ClaimActiveError(ActiveClaim("claim-1", Decimal(2))), "claim claim-1 is active"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_refusal_of_the_store_says_what_stands_in_the_way(error: Exception, words: str) -> None:
    assert str(error) == words
