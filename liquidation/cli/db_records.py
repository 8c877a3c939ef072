"""How a store stands, and what was moved, as programs read it."""

from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

from liquidation.store.base import StoreStats
from liquidation.store.locations import StoreLocation
from liquidation.store.sqlite import schema
from liquidation.store.sqlite.status import FileStatus

if TYPE_CHECKING:
    # They need the extra `postgres`.
    from liquidation.store.copying import Copied
    from liquidation.store.postgres.status import DatabaseStatus

__all__ = ["copied_record", "status_record"]


def status_record(store: StoreLocation, found: "FileStatus | DatabaseStatus") -> dict[str, Any]:
    """How a store stands; the first keys are those of every engine."""
    record = {
        "store": store.told,
        "works": not found.problems,
        "problems": found.problems,
        "notes": found.notes,
        "next_start_migrates": found.migrates,
        "holds": None if found.holds is None else _holdings_record(found.holds),
    }
    return record | (_of_file(found) if isinstance(found, FileStatus) else _of_database(found))


def _of_file(found: FileStatus) -> dict[str, Any]:
    return {
        "schema": {"version": found.version, "newest_known": schema.NEWEST},
        "exists": found.exists,
        "writable": found.writable,
        "bytes": {"file": found.size, "write_ahead_log": found.log_size},
    }


def _of_database(found: "DatabaseStatus") -> dict[str, Any]:
    from liquidation.store.postgres.schema import NEWEST  # noqa: PLC0415 - it needs an extra

    return {
        "not_counted": found.uncounted,
        "schema": {
            "version": found.state.version,
            "newest_known": NEWEST,
            "oldest_service": found.state.oldest_service,
        },
        "address": found.address,
        "server": asdict(found.server),
        "standbys": [asdict(each) for each in found.standbys],
        "may_create": found.may_create,
        "missing_privileges": found.missing,
        "bytes": found.sizes,
    }


def _holdings_record(holds: StoreStats) -> dict[str, Any]:
    ended = holds.oldest_end
    return asdict(holds) | {"oldest_end": None if ended is None else ended.astimezone(UTC)}


def copied_record(
    file: StoreLocation, database: StoreLocation, copied: "Copied", seconds: float
) -> dict[str, Any]:
    """What was moved, from where to where, and in how many seconds."""
    return {
        "from": file.told,
        "to": database.told,
        "rows": copied.rows,
        "running_leases": copied.running,
        "overdue_leases": copied.over,
        "next_fencing_token": copied.next_token,
        "replaced_characters": copied.replaced,
        "warnings": copied.warnings,
        "seconds": round(seconds, 3),
    }
