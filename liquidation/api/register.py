"""The use cases of what is under liquidation: put, get, list, close = read → store → log."""

from collections.abc import Callable, Sequence
from typing import Final

from liquidation.decisionlog.entry import Call, liquidation_fields
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.checks import not_found, slot_taken, wrong_format
from liquidation.rules.intake import FieldViolations, read_liquidation
from liquidation.rules.model import FieldViolation, Liquidation, Refusal, StoredState
from liquidation.rules.policy import MAX_BATCH, MAX_PAGE
from liquidation.rules.record import liquidation_record
from liquidation.rules.texts import SnapshotText
from liquidation.store.base import AccountMismatchError, ClaimActiveError, Page, PutResult, Store

__all__ = ["RefusedError", "Register", "page_rows", "refused_field", "require_id"]

_DEFAULT_PAGE: Final = 100


class RefusedError(Exception):
    """A call is refused; carries the refusal that is the answer to it.

    `logged` tells that its line is written already.
    """

    def __init__(self, refusal: Refusal, *, logged: bool = False) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.logged = logged


def require_id(text: str, field: str, *others: FieldViolation) -> None:
    """Refuses a text that is no id, with what else is wrong with the call.

    Raises:
        RefusedError: -1005.
    """
    violations = FieldViolations()
    violations.identifier(text, field)
    if found := (*violations.found, *others):
        raise RefusedError(wrong_format(*found))


def refused_field(field: str, description: str) -> RefusedError:
    """The -1005 that says what is wrong with one field."""
    return RefusedError(wrong_format(FieldViolation(field, description)))


def page_rows(size: int) -> int:
    """How many rows a page has where `size` are asked for; 0 asks for 100.

    Raises:
        RefusedError: -1005 for a size that is negative or above 1000.
    """
    if not 0 <= size <= MAX_PAGE:
        raise refused_field("page_size", f"must be 0 to {MAX_PAGE}")
    return size or _DEFAULT_PAGE


class Register:
    """What is under liquidation. The risk backend writes it; every check reads it."""

    def __init__(
        self,
        store: Store,
        log: DecisionLog,
        new_id: Callable[[], str],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._log = log
        self._new_id = new_id
        self._monotonic_ns = monotonic_ns

    async def put(
        self, snapshots: Sequence[tuple[SnapshotText | None, str]], call: Call
    ) -> list[PutResult]:
        """Opens or refreshes liquidations, all or none; each comes with its field path.

        Raises:
            RefusedError: -1005, where one is absent, not well formed or another account's.
            StoreUnavailableError: the store did not answer.
        """
        if not 1 <= len(snapshots) <= MAX_BATCH:
            raise refused_field("requests", f"must have 1 to {MAX_BATCH} entries")
        liquidations = [_read(text, path) for text, path in snapshots]
        try:
            results = await self._store.put(liquidations)
        except AccountMismatchError as error:
            path = snapshots[error.index][1]
            raise refused_field(f"{path}.account_id", "is another than the stored one") from error
        for result in results:
            if result.opened:
                self.opened(result.liquidation, call)
        return results

    async def get(self, liquidation_id: int) -> Liquidation:
        """The open liquidation of that id.

        Raises:
            RefusedError: -1005 for an id that is none, -1202 where there is no such liquidation.
            StoreUnavailableError: the store did not answer.
        """
        _require_id(liquidation_id)
        return _found(await self._store.get(liquidation_id), liquidation_id)

    async def page(self, account_id: str, after: int, size: int) -> Page:
        """Open liquidations by id, of one account unless that is ""; a `size` of 0 is 100.

        Raises:
            RefusedError: -1005 for an account_id that is none, and for a size that is negative or
                above 1000.
            StoreUnavailableError: the store did not answer.
        """
        if account_id:
            require_id(account_id, "account_id")
        return await self._store.page(account_id, after, page_rows(size))

    async def close(self, liquidation_id: int, call: Call) -> Liquidation:
        """Ends a liquidation, for good.

        Raises:
            RefusedError: -1005 for an id that is none, -1202 where there is no such liquidation,
                -1012 while a claim on it is active.
            StoreUnavailableError: the store did not answer.
        """
        _require_id(liquidation_id)
        try:
            closed = await self._store.close_liquidation(liquidation_id)
        except ClaimActiveError as error:
            raise RefusedError(slot_taken(StoredState(active_claim=error.active))) from error
        liquidation = _found(closed, liquidation_id)
        self._changed("closed", liquidation, call)
        return liquidation

    def refused(
        self,
        refusal: Refusal,
        decision_id: str,
        call: Call,
        *,
        liquidation_id: int = 0,
        account_id: str = "",
        revision: int = 0,
    ) -> None:
        """Leaves the line of a put or close that was refused."""
        fields = liquidation_fields(decision_id, call.rpc, liquidation_id, account_id, revision)
        fields |= call.fields(self._monotonic_ns())
        self._log.liquidation("refused", refusal, fields, None)

    def opened(self, liquidation: Liquidation, call: Call) -> None:
        """Leaves the line of a liquidation that was opened."""
        self._changed("opened", liquidation, call)

    def _changed(self, change: str, liquidation: Liquidation, call: Call) -> None:
        fields = liquidation_fields(
            self._new_id(),
            call.rpc,
            liquidation.liquidation_id,
            liquidation.account_id,
            liquidation.revision,
        )
        fields |= call.fields(self._monotonic_ns())
        record = {"liquidation": liquidation_record(liquidation)}
        self._log.liquidation(change, None, fields, record)


def _read(text: SnapshotText | None, path: str) -> Liquidation:
    if text is None:
        raise refused_field(path, "is required")
    read = read_liquidation(text, path)
    if isinstance(read, Liquidation):
        return read
    raise RefusedError(wrong_format(*read))


def _require_id(liquidation_id: int) -> None:
    if liquidation_id <= 0:
        raise refused_field("liquidation_id", "must be above zero")


def _found(liquidation: Liquidation | None, liquidation_id: int) -> Liquidation:
    if liquidation is None:
        raise RefusedError(not_found(liquidation_id))
    return liquidation
