"""The setting `--store`: where a store is, how that may be shown to people, and how it is opened.

A URL is taken apart as libpq does it, by the standard library alone. What libpq would take for
something else than its author meant is refused: a password that is not encoded would end up in a
host or in the name of a database, and be shown.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from liquidation import needs_extra
from liquidation.store.base import CommitObserver, Fault, Store, StoreError

_SQLITE: Final = "sqlite:"
_SCHEMES: Final = ("postgresql://", "postgres://")
_HIGHEST_PORT: Final = 65535

_HOST: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::(?P<port>[0-9]{0,5}))?")
_NOT_ENCODED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
# The parameters that may be shown. Any other may be a secret, if not of today's libpq.
_SHOWN: Final = frozenset(
    {
        "application_name",
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "load_balance_hosts",
        "port",
        "service",
        "sslmode",
        "target_session_attrs",
        "user",
    }
)
# The parameters whose values must not be found in what a driver says.
_SECRET: Final = re.compile(r"password|secret|scram_.*_key")


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite file of this host."""

    path: Path

    @property
    def told(self) -> str:
        """How it is shown to people and written to logs: `sqlite:PATH`."""
        return f"{_SQLITE}{self.path}"


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """A PostgreSQL database, by a URL as libpq takes it; `url` may hold a password.

    `told` is the URL as it is shown to people and written to logs: without a password, and of its
    parameters only those that say where the database is.

    Raises:
        ValueError: `url` is none that libpq takes, or is ambiguous; nothing of it is in the text.
    """

    url: str = field(repr=False)
    told: str = field(init=False, compare=False)
    _secrets: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told, secrets = _without_secrets(self.url)
        object.__setattr__(self, "told", told)
        # What is shown anyway, such as a user of the same name, needs no hiding.
        hidden = tuple(each for each in secrets if each and each not in told)
        object.__setattr__(self, "_secrets", hidden)

    def shown(self, text: str) -> str:
        """What a driver or a server said of this database, or that it cannot be shown."""
        if any(secret in text for secret in self._secrets):
            return "(what was said holds the text of a password, and is not shown)"
        return text


StoreLocation = SqliteFile | PostgresDatabase


def parse_location(text: str) -> StoreLocation:
    """The place that `sqlite:PATH` or `postgresql://…` names; nothing is looked at.

    Raises:
        ValueError: it is neither; the text says what is wrong, and repeats nothing of what may be
            a password.
    """
    if text.startswith(_SCHEMES):
        return PostgresDatabase(text)
    path = text.removeprefix(_SQLITE)
    if not text.startswith(_SQLITE) or not path:
        raise ValueError("the text is neither sqlite:PATH nor postgresql://USER@HOST:PORT/DATABASE")
    return SqliteFile(Path(path))


def _without_secrets(url: str) -> tuple[str, tuple[str, ...]]:
    """A URL as it may be shown, and its secrets, each as it stands there and decoded."""
    if not url.isprintable() or " " in url or _NOT_ENCODED.search(url):
        raise ValueError(
            "the URL holds a space, a control character or a % that is not encoded;"
            " in a password they are written as %20, %25 and the like"
        )
    scheme, slashes, rest = url.partition("://")
    if scheme + slashes not in _SCHEMES:
        raise ValueError("the URL does not begin with postgresql://")
    user, password, rest = _user_info(rest)
    if "@" in rest:
        raise ValueError(
            "the URL holds an @ that does not stand between user and host;"
            " @, / and ? in a user, a password or a value are written as %40, %2F and %3F"
        )
    place, _, query = rest.partition("?")
    hosts, slash, database = place.partition("/")
    _check_hosts(hosts)
    parameters = _parameters(query)
    told = "&".join(f"{name}={value}" for name, value in parameters if unquote(name) in _SHOWN)
    secrets = [value for name, value in parameters if _SECRET.search(unquote(name))]
    return (
        scheme
        + slashes
        + (f"{user}@" if user else "")
        + f"{hosts}{slash}{database}"
        + (f"?{told}" if told else ""),
        tuple(each for raw in (password, *secrets) for each in (raw, unquote(raw))),
    )


def _user_info(rest: str) -> tuple[str, str, str]:
    # A / before the first @ ends the hosts, so that there is no user; libpq does not see that a ?
    # does so too, and would take a parameter for one.
    found = re.match(r"(?P<user>[^:@/?]*)(?::(?P<password>[^@/?]*))?@", rest)
    if found is None:
        return "", "", rest
    return found["user"], found["password"] or "", rest[found.end() :]


def _check_hosts(hosts: str) -> None:
    for each in hosts.split(","):
        found = _HOST.fullmatch(each)
        if found is None:
            raise ValueError(
                "the URL holds a host that is none, or a port that is no number;"
                " : and / in a password are written as %3A and %2F"
            )
        if found["port"] and not 0 < int(found["port"]) <= _HIGHEST_PORT:
            raise ValueError(f"the URL holds a port that is not from 1 to {_HIGHEST_PORT}")


def _parameters(query: str) -> list[tuple[str, str]]:
    found = []
    for each in query.split("&") if query else ():
        name, equals, value = each.partition("=")
        if not name or not equals or "=" in value:
            raise ValueError(
                "the URL holds a parameter that is not NAME=VALUE;"
                " = and & in a value are written as %3D and %26"
            )
        found.append((name, value))
    return found


class DriverMissingError(StoreError):
    """The store needs a package that is not installed; the text says what to install."""

    def __init__(self) -> None:
        super().__init__(needs_extra("--store postgresql://", "postgres"))


def require_driver() -> None:
    """Returns if the driver of PostgreSQL can be used.

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
    is called after each group of writes, `on_fault` with what callbacks raise.

    Raises:
        StoreUnavailableError: the file cannot be opened or written.
        SchemaError: the file was written by a newer version of this service.
        DriverMissingError: the driver of PostgreSQL is not installed.
        StoreError: the driver rejects the URL.
    """
    if isinstance(location, SqliteFile):
        # The settings are read by commands that open no store.
        from liquidation.store.sqlite.connections import HostClock  # noqa: PLC0415
        from liquidation.store.sqlite.store import SqliteStore  # noqa: PLC0415

        return SqliteStore(
            location.path,
            HostClock(),
            committed=committed,
            timeout_s=timeout_s,
            on_fault=on_fault,
        )
    require_driver()
    from liquidation.store.postgres.store import PostgresStore  # noqa: PLC0415 - it needs an extra

    return PostgresStore(
        location.url,
        committed=committed,
        timeout_s=timeout_s,
        connections=connections,
        on_fault=on_fault,
    )
