"""What is refused of a claim, from the claim alone."""

from dataclasses import replace
from decimal import Decimal

import pytest

from liquidation.rules import errors
from liquidation.rules.leases import (
    claim_not_found,
    duplicate_request,
    lease_left_s,
    lease_us,
    lease_violations,
    refused_change,
    request_violations,
)
from liquidation.rules.model import Claim, ClaimState, Refusal, Terms

CLAIM = Claim(
    claim_id="claim-1",
    request_id="r-1",
    account_id="account-1",
    terms=Terms(1, "liquidator-1", Decimal(1), Decimal(0)),
    liquidation_revision=1,
    fencing_token=7,
    state=ClaimState.ACTIVE,
    positions=(),
    begin_us=0,
    expire_us=30_000_000,
)
ENDED = (ClaimState.COMPLETED, ClaimState.CANCELLED, ClaimState.EXPIRED)


def test_a_claim_that_is_not_known_is_not_found() -> None:
    refusal = refused_change(None, "claim-1", 7, ClaimState.COMPLETED)

    assert refusal == Refusal(
        errors.NOT_FOUND_IN_SERVER,
        "claim_known",
        values={"claim_id": "claim-1"},
        not_found=("liquidation.v1.Claim", "claim-1"),
    )


def test_a_claim_that_is_looked_for_by_its_request_is_not_found_by_that() -> None:
    assert claim_not_found("request_id", "r-1") == Refusal(
        errors.NOT_FOUND_IN_SERVER,
        "claim_known",
        values={"request_id": "r-1"},
        not_found=("liquidation.v1.Claim", "r-1"),
    )


def test_a_request_id_that_is_taken_names_the_claim_that_has_it() -> None:
    assert duplicate_request(CLAIM) == Refusal(
        errors.DUPLICATED,
        "request_id_unused",
        values={"request_id": "r-1", "claim_id": "claim-1"},
    )


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("wanted", ClaimState)
def test_another_token_is_refused_whatever_the_claim_and_the_wish(
    state: ClaimState, wanted: ClaimState
) -> None:
    refusal = refused_change(replace(CLAIM, state=state), "claim-1", 8, wanted)

    assert refusal == Refusal(errors.OTHER_TOKEN, "claim_active", subject="claims/claim-1")
    assert refusal.message == "The fencing token is not that of the claim."


@pytest.mark.parametrize("token", [7, None], ids=["token", "operator"])
@pytest.mark.parametrize("wanted", [ClaimState.COMPLETED, ClaimState.CANCELLED])
def test_what_was_done_before_is_not_refused(wanted: ClaimState, token: int | None) -> None:
    assert refused_change(replace(CLAIM, state=wanted), "claim-1", token, wanted) is None


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (state, wanted)
        for state in ENDED
        for wanted in (ClaimState.COMPLETED, ClaimState.CANCELLED)
        if state is not wanted
    ],
    ids=lambda state: state.name,
)
def test_a_claim_that_ended_otherwise_says_how(state: ClaimState, wanted: ClaimState) -> None:
    refusal = refused_change(replace(CLAIM, state=state), "claim-1", 7, wanted)

    told = state.name.lower()
    assert refusal == Refusal(
        errors.CLAIM_ENDED,
        "claim_active",
        values={"state": told, "claim_id": "claim-1"},
        subject="claims/claim-1",
    )
    assert (refusal.row.code, refusal.message) == (-1202, f"The claim is not active: it is {told}.")


@pytest.mark.parametrize("state", ClaimState)
def test_a_renewal_that_was_not_applied_is_never_taken_for_done(state: ClaimState) -> None:
    assert refused_change(replace(CLAIM, state=state), "claim-1", 7, ClaimState.ACTIVE) is not None


@pytest.mark.parametrize("lease", [None, (1, 0), (300, 0), (1, 1), (299, 999_999_999)])
def test_a_lease_within_its_bounds_has_no_violation(lease: tuple[int, int] | None) -> None:
    assert lease_violations(lease) == ()


@pytest.mark.parametrize(
    "lease", [(0, 0), (0, 999_999_999), (300, 1), (301, 0), (-1, 0), (5, -1), (5, 1_000_000_000)]
)
def test_a_lease_out_of_its_bounds_has_one(lease: tuple[int, int]) -> None:
    (violation,) = lease_violations(lease)

    assert (violation.field, violation.description) == ("lease_ttl", "must be 1 s to 300 s")


def test_a_lease_is_the_default_where_it_is_absent_and_else_to_the_microsecond() -> None:
    assert lease_us(None, 30) == 30_000_000
    assert lease_us((2, 500_000_999), 30) == 2_500_000


def test_what_is_left_of_a_lease_is_exact_and_never_below_zero() -> None:
    assert lease_left_s(1_000_001, 1) == Decimal(1)
    assert lease_left_s(2, 1) == Decimal("0.000001")
    assert lease_left_s(1, 2) == Decimal(0)
    # More digits than a context keeps that nobody asked for.
    assert lease_left_s(9 * 10**30 + 1, 0) == Decimal(f"9{'0' * 24}.000001")


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b\t", "é"])
def test_a_request_id_is_1_to_64_printable_ascii_characters(request_id: str) -> None:
    assert [each.field for each in request_violations(request_id, None)] == ["request_id"]
    assert request_violations("x" * 64, None) == ()


def test_a_request_id_and_a_lease_are_both_told_where_both_are_wrong() -> None:
    assert [each.field for each in request_violations("", (0, 0))] == ["request_id", "lease_ttl"]
    assert request_violations("x", (0, 0)) == lease_violations((0, 0))
