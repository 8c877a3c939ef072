"""The use cases of what is under liquidation: put, get, list, close = read → store → log."""

from collections.abc import Callable, Sequence
from typing import Final

from liquidation.core.intake import read_liquidation
from liquidation.core.model import Defect, Liquidation, Refusal
from liquidation.core.policy import MAX_BATCH, MAX_PAGE
from liquidation.core.record import Record, liquidation_record
from liquidation.core.rules import not_found, wrong_format
from liquidation.core.texts import SnapshotText
from liquidation.logs.lines import Call, liquidation_fields
from liquidation.logs.writer import DecisionLog
from liquidation.store.base import AccountMismatchError, Page, PutResult, Store

__all__ = ["RefusedError", "Register", "refused_field"]

_DEFAULT_PAGE: Final = 100


class RefusedError(Exception):
    """A call is refused; carries the refusal that is the answer to it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refused_field(field: str, description: str) -> RefusedError:
    """The -1005 that says what is wrong with one field."""
    return RefusedError(wrong_format(Defect(field, description)))


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
                self._changed("opened", result.liquidation, call)
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
            RefusedError: -1005 for a size that is negative or above 1000.
            StoreUnavailableError: the store did not answer.
        """
        if not 0 <= size <= MAX_PAGE:
            raise refused_field("page_size", f"must be 0 to {MAX_PAGE}")
        return await self._store.page(account_id, after, size or _DEFAULT_PAGE)

    async def close(self, liquidation_id: int, call: Call) -> Liquidation:
        """Ends a liquidation, for good.

        Raises:
            RefusedError: -1005 for an id that is none, -1202 where there is no such liquidation.
            StoreUnavailableError: the store did not answer.
        """
        _require_id(liquidation_id)
        closed = await self._store.close_liquidation(liquidation_id)
        liquidation = _found(closed, liquidation_id)
        self._changed("closed", liquidation, call)
        return liquidation

    def refused(
        self, refusal: Refusal, liquidation_id: int, account_id: str, revision: int, call: Call
    ) -> None:
        """Leaves the line of a put or close that was refused."""
        self._log_line("refused", refusal, liquidation_id, account_id, revision, call, None)

    def _changed(self, change: str, liquidation: Liquidation, call: Call) -> None:
        self._log_line(
            change,
            None,
            liquidation.liquidation_id,
            liquidation.account_id,
            liquidation.revision,
            call,
            {"liquidation": liquidation_record(liquidation)},
        )

    def _log_line(
        self,
        change: str,
        refusal: Refusal | None,
        liquidation_id: int,
        account_id: str,
        revision: int,
        call: Call,
        request: Record | None,
    ) -> None:
        fields = liquidation_fields(
            self._new_id(), call.rpc, liquidation_id, account_id, revision
        ) | call.fields(self._monotonic_ns())
        self._log.liquidation(change, refusal, fields, request)


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
