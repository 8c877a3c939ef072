"""What `liquidation serve` is told: the only reader of its flags and environment.

Each setting is a flag and an environment variable, `--log-file` and `LIQUIDATION_LOG_FILE`; the
flag wins.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from liquidation.config.addresses import parse_address, parse_owner
from liquidation.config.watched_file import read_text
from liquidation.rules.numbers import ONE, ZERO, parse_decimal
from liquidation.rules.policy import Policy, PolicyError, read_policy
from liquidation.store.locations import SqliteFile, StoreLocation, parse_location

DEFAULT_LISTEN: Final = "127.0.0.1:50051"
_STORE: Final = SqliteFile(Path("liquidation.db"))
_F = TypeVar("_F", bound=Callable[..., Any])
_Callback = Callable[[click.Context, click.Parameter, Any], Any]
_ENV_PREFIX: Final = "LIQUIDATION_"
# Eleven days: longer spans than any that is of use here, and shorter than what gRPC can count.
_LONGEST_S: Final = 1_000_000
_SEVERAL: Final = " May be given several times; in the variable they stand apart by spaces."
_LOOPBACK: Final = "127.0.0.1"
# Read, write and execute for owner, group and others.
_MODES: Final = 0o777


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve; spans are seconds.

    `log_file` is None for standard output, `rules` None for the built-in rules; any other None
    leaves out what it is about.
    """

    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    transport: str = "queue"
    unix_mode: int = 0o660
    unix_owner: str | None = None
    allow_plaintext_beyond_loopback: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    api_keys: Path | None = None
    rules: Path | None = None
    candidate_rules: Path | None = None
    store: StoreLocation = _STORE
    store_timeout: float = 2.0
    store_connections: int = 8
    workers: int = 1
    log_file: Path | None = None
    log_sample: Decimal = ONE
    log_redact: tuple[str, ...] = ()
    log_redact_key: str = field(default="", repr=False)
    metrics_listen: str | None = None
    tracing: str = "off"
    max_streams_per_connection: int = 1000
    max_connection_idle: float = 600.0
    max_connection_age: float = 0.0
    max_connection_age_grace: float = 30.0
    max_metadata_bytes: int = 16384
    max_memory: int = 1024
    max_call_time: float = 30.0
    drain_time: float = 10.0


def load_policy(path: Path | None) -> Policy:
    """The rules in the file at `path`, or the built-in ones.

    Raises:
        PolicyError: the file cannot be read, or is not a rules file.
    """
    return Policy() if path is None else read_policy(read_text(path, PolicyError))


class Seconds(click.FloatRange):
    """A span of `least` to `longest` seconds, both inclusive."""

    def __init__(self, least: float = 0, longest: float = _LONGEST_S) -> None:
        super().__init__(least, longest)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The span; NaN is none, although no bound keeps it out."""
        span: float = super().convert(value, param, ctx)
        if math.isnan(span):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return span


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of `liquidation serve`.

    Values are of the click type `type`, else texts that `callback` makes values of. `unset` says
    what holds if a `default` does not tell. With `repeatable` there may be several values.
    `allowed` says what may be given, as Markdown; it and `metavar` are needed if `type` does not
    tell.
    """

    flag: str
    meaning: str
    metavar: str | None = None
    type: click.ParamType[Any] | None = None
    callback: _Callback | None = None
    default: object = None
    unset: str = ""
    repeatable: bool = False
    allowed: str = ""

    def __post_init__(self) -> None:
        if self.metavar is None:
            object.__setattr__(self, "metavar", _metavar(self.type))
        if not self.allowed:
            object.__setattr__(self, "allowed", _allowed(self.type))
        assert self.allowed, f"{self.flag}: what is allowed?"
        assert self.unset or self.default is not None, f"{self.flag}: what holds by default?"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return _ENV_PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()

    @property
    def by_default(self) -> str:
        """What holds if it is not given: a value, as Markdown, or words."""
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        return self.unset or f"`{' '.join(map(str, values))}`"

    @property
    def told(self) -> str:
        """What it means, and how several values are given."""
        return self.meaning + (_SEVERAL if self.repeatable else "")

    def option(self, command: _F) -> _F:
        """Adds it to a click command."""
        given = {"type": self.type, "default": self.default}
        # For click a default of None is another thing than none.
        more: Any = {name: value for name, value in given.items() if value is not None}
        return click.option(
            self.flag,
            envvar=self.variable,
            show_envvar=True,
            show_default=self.unset or True,
            help=self.told,
            metavar=self.metavar,
            multiple=self.repeatable,
            callback=self.callback,
            **more,
        )(command)


@dataclass(frozen=True, slots=True)
class Section:
    """Settings that belong together."""

    title: str
    settings: tuple[Setting, ...]


def _metavar(kind: click.ParamType[Any] | None) -> str | None:
    if isinstance(kind, click.Path):
        return "FILE"
    return "SECONDS" if isinstance(kind, Seconds) else None


def _allowed(kind: click.ParamType[Any] | None) -> str:
    """What values of a click type may be; "" if it does not tell."""
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"{kind.min} to {kind.max}"
    return "a file" if isinstance(kind, click.Path) else ""


def check_addresses(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """Where to take calls: HOST:PORT or unix:PATH each."""
    for text in texts:
        _checked(parse_address, text)
    return texts


def parse_metrics_address(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """HOST:PORT, or a port of loopback alone."""
    if text is None:
        return None
    address = f"{_LOOPBACK}:{text}" if text.isascii() and text.isdigit() else text
    if address.startswith("unix:"):
        raise click.BadParameter(f"{text!r} is neither HOST:PORT nor PORT")
    _checked(parse_address, address)
    return address


def parse_store(_: click.Context, __: click.Parameter, text: str) -> StoreLocation:
    """sqlite:PATH, or the URL of a PostgreSQL database."""
    try:
        return parse_location(text)
    except ValueError as error:
        # It says nothing of the text, which may hold a password.
        raise click.BadParameter(str(error)) from error


def parse_share(_: click.Context, __: click.Parameter, text: str) -> Decimal:
    """A decimal from 0 to 1."""
    found = parse_decimal(text)
    if found is None or not ZERO <= found <= ONE:
        raise click.BadParameter(f"{text!r} is not a decimal from 0 to 1")
    return found


def parse_mode(_: click.Context, __: click.Parameter, text: str) -> int:
    """The permissions of a file, as chmod takes them in digits."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _MODES:
        raise click.BadParameter(f"{text!r} is not a mode such as 0660")
    return mode


def check_owner(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """USER or USER:GROUP, both of this host."""
    if text is not None:
        _checked(parse_owner, text)
    return text


def _checked(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
