"""The use cases of claims that were granted: renew, complete, cancel = read → store → log.

The store holds the promises; `rules.leases` says what is refused and why. Every call that asks for
a change leaves one `claim` line, and so does every lease that runs out.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from liquidation.api.failures import FAULT
from liquidation.api.register import RefusedError, page_rows, refused_field, require_id
from liquidation.decisionlog.entry import Call, change_fields, claim_fields
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules import leases
from liquidation.rules.intake import MAX_ID
from liquidation.rules.model import Claim, ClaimEvent, ClaimState, FieldViolation, Refusal
from liquidation.rules.policy import ActivePolicy
from liquidation.rules.record import Record
from liquidation.store.base import ChangeResult, ClaimFilter, ClaimPage, Store

__all__ = ["Claims"]

# Characters of a reason that is kept; inclusive.
_MAX_REASON: Final = 256
# Claims that one round of the background takes.
_ROUND: Final = 500


class Claims:
    """What is in progress, from its grant to its end, and every change of it told."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], ActivePolicy],
        log: DecisionLog,
        new_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._rules = rules
        self._log = log
        self._new_id = new_id
        self._monotonic_ns = monotonic_ns

    async def renew(
        self, claim_id: str, token: int, lease: tuple[int, int] | None, call: Call
    ) -> Claim:
        """Lets an active claim run on from now.

        Raises:
            RefusedError: -1005, -1006 or -1202.
            StoreUnavailableError: the store did not answer.
        """
        require_id(claim_id, "claim_id", *leases.lease_violations(lease))
        lease_us = leases.lease_us(lease, self._rules().policy.claims.default_lease_ttl_s)
        changed = await self._store.renew(claim_id, token, lease_us)
        asked = {"claim_id": claim_id, "fencing_token": str(token), "lease_us": lease_us}
        return self._changed("renew", changed, claim_id, token, ClaimState.ACTIVE, asked, call)

    async def complete(self, claim_id: str, token: int, call: Call) -> Claim:
        """Ends a claim whose positions were transferred; raises as `renew`."""
        require_id(claim_id, "claim_id")
        changed = await self._store.end(claim_id, token, ClaimState.COMPLETED, "")
        asked = {"claim_id": claim_id, "fencing_token": str(token)}
        return self._changed(
            "complete", changed, claim_id, token, ClaimState.COMPLETED, asked, call
        )

    async def cancel(
        self, claim_id: str, token: int, reason: str, *, force: bool, call: Call
    ) -> Claim:
        """Ends a claim whose positions were not transferred; raises as `renew`.

        `force` is an operator's: it needs no token.
        """
        require_id(claim_id, "claim_id", *_reason_violations(reason))
        expected = None if force else token
        changed = await self._store.end(claim_id, expected, ClaimState.CANCELLED, reason)
        asked = {
            "claim_id": claim_id,
            "fencing_token": str(token),
            "reason": reason,
            "force": force,
        }
        return self._changed(
            "cancel", changed, claim_id, expected, ClaimState.CANCELLED, asked, call
        )

    async def get(self, claim_id: str, request_id: str) -> tuple[Claim, Sequence[ClaimEvent]]:
        """A claim by exactly one of its ids, and its history.

        Raises:
            RefusedError: -1005, or -1006 where there is no such claim.
            StoreUnavailableError: the store did not answer.
        """
        if bool(claim_id) is bool(request_id):
            raise refused_field("claim_id", "must be given, or request_id, and not both")
        field, value = ("claim_id", claim_id) if claim_id else ("request_id", request_id)
        require_id(value, field)
        claim = await self._store.claim(claim_id=claim_id, request_id=request_id)
        if claim is None:
            raise RefusedError(leases.claim_not_found(field, value))
        return claim, await self._store.history(claim.claim_id)

    async def page(self, wanted: ClaimFilter, below: int | None, size: int) -> ClaimPage:
        """Claims, newest first; raises as `Register.page`."""
        if wanted.liquidation_id < 0:
            raise refused_field("liquidation_id", "must be zero or more")
        if wanted.account_id:
            require_id(wanted.account_id, "account_id")
        return await self._store.claims(wanted, below, page_rows(size))

    async def settle(self) -> None:
        """One round of the background: leases that ran out are told, old claims are forgotten.

        Raises:
            StoreUnavailableError: the store did not answer.
        """
        for claim in await self._store.expire(_ROUND):
            self.tell_expired(claim)
        retention_us = self._rules().policy.claims.retention_s * 1_000_000
        while await self._store.purge(retention_us, _ROUND) == _ROUND:
            continue

    def refused_change(
        self, change: str, claim_id: str, refusal: Refusal, decision_id: str, call: Call
    ) -> None:
        """Leaves the line of a change that was refused before a claim was found."""
        asked = {"claim_id": claim_id[:MAX_ID]}
        self._log_change(change, refusal, None, asked, call, decision_id)

    def _changed(
        self,
        change: str,
        changed: ChangeResult,
        claim_id: str,
        token: int | None,
        wanted: ClaimState,
        asked: Record,
        call: Call,
    ) -> Claim:
        refusal = None
        if not changed.applied:
            refusal = leases.refused_change(changed.claim, claim_id, token, wanted)
        # What was done before is told as known: nothing was changed by this call.
        known = refusal is None and not changed.applied
        self._log_change(change, refusal, changed.claim, asked, call, known=known)
        if refusal is not None or changed.claim is None:
            raise RefusedError(refusal or FAULT, logged=True)
        return changed.claim

    def tell_expired(self, claim: Claim) -> None:
        """Leaves the line of a lease that ran out."""
        nobody = Call("", "", "", self._monotonic_ns())
        self._log_change("expire", None, claim, {"claim_id": claim.claim_id}, nobody)

    def _log_change(
        self,
        change: str,
        refusal: Refusal | None,
        claim: Claim | None,
        asked: Record,
        call: Call,
        decision_id: str = "",
        *,
        known: bool = False,
    ) -> None:
        version = self._rules().policy.version
        fields = change_fields(decision_id or self._new_id(), call, claim, version)
        fields |= call.fields(self._monotonic_ns()) | claim_fields(change, claim)
        fields["known"] = known
        self._log.claim_change(refusal, fields, asked)


def _reason_violations(reason: str) -> Iterator[FieldViolation]:
    if len(reason) > _MAX_REASON:
        yield FieldViolation("reason", f"must have at most {_MAX_REASON} characters")
    # There are databases whose texts cannot hold it.
    if "\0" in reason:
        yield FieldViolation("reason", "must not hold the character U+0000")
