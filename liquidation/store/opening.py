"""Opens the store that the setting `--store` names."""

from liquidation import needs_extra
from liquidation.store.base import CommitObserver, Fault, Store, StoreError
from liquidation.store.locations import SqliteFile, StoreLocation
from liquidation.store.sqlite.connections import HostClock
from liquidation.store.sqlite.store import SqliteStore


class DriverMissingError(StoreError):
    """The store needs a package that is not installed; the text says what to install."""

    def __init__(self) -> None:
        super().__init__(needs_extra("--store postgresql://", "postgres"))


def require_driver() -> None:
    """Returns where the driver of PostgreSQL can be used.

    Raises:
        DriverMissingError: it is not installed, or lacks its library.
    """
    try:
        import psycopg  # noqa: F401, PLC0415 - it needs an extra
        import psycopg_pool  # noqa: F401, PLC0415
    except ImportError as error:
        raise DriverMissingError from error


def open_store(
    location: StoreLocation,
    *,
    timeout_s: float,
    connections: int,
    committed: CommitObserver = lambda *_: None,
    on_fault: Fault = lambda _: None,
) -> Store:
    """The store at `location`, which answers within `timeout_s`; see `Store`.

    `connections` is how many of a database it may use at once; a file needs no such bound. A
    database that cannot be reached is no error: the store is unavailable until it can. `committed`
    is told of each group of writes, and `on_fault` what callbacks raise.

    Raises:
        StoreUnavailableError: the file cannot be opened or written.
        SchemaError: the file was written by a newer version of this service.
        DriverMissingError: the driver of PostgreSQL is not installed.
        StoreError: the URL is none that the driver takes.
    """
    if isinstance(location, SqliteFile):
        return SqliteStore(
            location.path,
            HostClock(),
            committed=committed,
            timeout_s=timeout_s,
            on_fault=on_fault,
        )
    require_driver()
    from liquidation.store.postgres.store import PostgresStore  # noqa: PLC0415 - it needs an extra

    return PostgresStore.open(
        location.url,
        committed=committed,
        timeout_s=timeout_s,
        connections=connections,
        on_fault=on_fault,
    )
