"""What may become of a claim: pure, from the claim as it stands and what is asked of it."""

from decimal import Decimal
from typing import Final

from liquidation.rules import errors
from liquidation.rules.model import Claim, ClaimState, FieldViolation, Refusal
from liquidation.rules.numbers import EXACT
from liquidation.rules.parse import FieldViolations

# Characters of a request_id; inclusive.
MAX_REQUEST_ID: Final = 64
# Bounds of a lease, in seconds; inclusive.
MIN_LEASE_S: Final = 1
MAX_LEASE_S: Final = 300

_NANOS: Final = 1_000_000_000
_MICROS: Final = 1_000_000


def request_violations(
    request_id: str, lease: tuple[int, int] | None
) -> tuple[FieldViolation, ...]:
    """What is wrong with the parts of a BeginClaim that a CheckClaim has not."""
    violations = FieldViolations()
    violations.identifier(request_id, "request_id", longest=MAX_REQUEST_ID)
    return (*violations.found, *lease_violations(lease))


def lease_violations(lease: tuple[int, int] | None) -> tuple[FieldViolation, ...]:
    """What is wrong with a lease, given as (seconds, nanoseconds); None is absent, and right."""
    if lease is None:
        return ()
    seconds, nanos = lease
    in_range = MIN_LEASE_S * _NANOS <= seconds * _NANOS + nanos <= MAX_LEASE_S * _NANOS
    if in_range and 0 <= nanos < _NANOS:
        return ()
    return (FieldViolation("lease_ttl", f"must be {MIN_LEASE_S} s to {MAX_LEASE_S} s"),)


def lease_us(lease: tuple[int, int] | None, default_s: int) -> int:
    """A lease in microseconds, what is below one dropped; the default where it is absent."""
    if lease is None:
        return default_s * _MICROS
    seconds, nanos = lease
    return seconds * _MICROS + nanos // 1000


def refused_change(
    claim: Claim | None, claim_id: str, token: int | None, wanted: ClaimState
) -> Refusal | None:
    """Why a change that the store did not apply is refused; None where it was done before.

    `token` is None for an operator, who needs none. `wanted` is the state asked for; ACTIVE is a
    renewal, which is never done before.
    """
    if claim is None:
        return claim_not_found("claim_id", claim_id)
    subject = f"claims/{claim.claim_id}"
    if token is not None and token != claim.fencing_token:
        return Refusal(errors.OTHER_TOKEN, "claim_active", subject=subject)
    if claim.state is wanted and wanted is not ClaimState.ACTIVE:
        return None
    return Refusal(
        errors.CLAIM_ENDED,
        "claim_active",
        values={"state": claim.state.name.lower(), "claim_id": claim.claim_id},
        subject=subject,
    )


def claim_not_found(field: str, value: str) -> Refusal:
    """The refusal of every request for a claim that is not known."""
    return Refusal(
        errors.NOT_FOUND_IN_SERVER,
        "claim_known",
        values={field: value},
        not_found=("liquidation.v1.Claim", value),
    )


def duplicate_request(claim: Claim) -> Refusal:
    """The refusal of a request_id that a claim with other terms has."""
    return Refusal(
        errors.DUPLICATED,
        "request_id_unused",
        values={"request_id": claim.request_id, "claim_id": claim.claim_id},
    )


def lease_left_s(lease_end_us: int, now_us: int) -> Decimal:
    """Seconds from now to the end of a lease; never below zero."""
    return Decimal(max(lease_end_us - now_us, 0)).scaleb(-6, EXACT)
