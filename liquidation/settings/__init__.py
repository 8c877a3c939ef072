"""What `liquidation serve` is told: the only reader of its flags and environment.

Each setting is a flag and an environment variable, `--log-file` and `LIQUIDATION_LOG_FILE`; the
flag wins.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from liquidation.core.numbers import ONE, ZERO, parse_decimal
from liquidation.core.policy import Policy, PolicyError, read_policy
from liquidation.logs.masking import MASKABLE

__all__ = ["DEFAULT_LISTEN", "Settings", "load_policy", "serve_options"]

_ENV_PREFIX: Final = "LIQUIDATION"
DEFAULT_LISTEN: Final = "127.0.0.1:50051"
_DEFAULT_STORE: Final = "sqlite:liquidation.db"
_SQLITE: Final = "sqlite:"

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve. `log_file` is None for standard output, `rules` None for the built-in rules."""

    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    store: Path = Path("liquidation.db")
    rules: Path | None = None
    log_file: Path | None = None
    workers: int = 1
    log_sample: Decimal = ONE
    log_redact: tuple[str, ...] = ()
    log_redact_key: str = field(default="", repr=False)


def load_policy(path: Path | None) -> Policy:
    """The rules in the file at `path`, or the built-in ones.

    Raises:
        PolicyError: the file cannot be read, or is not a rules file.
    """
    if path is None:
        return Policy()
    try:
        return read_policy(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"is not UTF-8 text: {error.reason}") from error


def _listen(_: click.Context, __: click.Parameter, addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        if address.startswith("unix:"):
            sound = len(address) > len("unix:")
        else:
            host, _colon, port = address.rpartition(":")
            sound = bool(host) and port.isascii() and port.isdigit() and int(port) <= 65535
        if not sound:
            raise click.BadParameter(f"{address!r} is neither HOST:PORT nor unix:PATH")
    return addresses


def _store(_: click.Context, __: click.Parameter, store: str) -> Path:
    path = store.removeprefix(_SQLITE)
    if not store.startswith(_SQLITE) or not path:
        raise click.BadParameter(f"{store!r} is not of the form sqlite:PATH")
    return Path(path)


def _share(_: click.Context, __: click.Parameter, text: str) -> Decimal:
    share = parse_decimal(text)
    if share is None or not ZERO <= share <= ONE:
        raise click.BadParameter(f"{text!r} is not a decimal from 0 to 1")
    return share


_OPTIONS: Final = (
    click.option(
        "--listen",
        envvar=f"{_ENV_PREFIX}_LISTEN",
        show_envvar=True,
        metavar="HOST:PORT|unix:PATH",
        multiple=True,
        default=(DEFAULT_LISTEN,),
        show_default=True,
        callback=_listen,
        help="Where to take calls; may be given several times. Port 0 is any free port.",
    ),
    click.option(
        "--store",
        envvar=f"{_ENV_PREFIX}_STORE",
        show_envvar=True,
        metavar="sqlite:PATH",
        default=_DEFAULT_STORE,
        show_default=True,
        callback=_store,
        help="Where liquidations are kept; the file is created on first use.",
    ),
    click.option(
        "--rules",
        envvar=f"{_ENV_PREFIX}_RULES",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="A rules.toml with thresholds, modes and limits.  [default: the built-in rules]",
    ),
    click.option(
        "--log-file",
        envvar=f"{_ENV_PREFIX}_LOG_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="Where the decision log goes; lines are appended.  [default: standard output]",
    ),
    click.option(
        "--workers",
        envvar=f"{_ENV_PREFIX}_WORKERS",
        show_envvar=True,
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="How many processes share the port and the store.",
    ),
    click.option(
        "--log-sample",
        metavar="SHARE",
        envvar=f"{_ENV_PREFIX}_LOG_SAMPLE",
        show_envvar=True,
        default="1",
        show_default=True,
        callback=_share,
        help="The share of accepted decisions that is logged, 0 to 1; all else always is.",
    ),
    click.option(
        "--log-redact",
        envvar=f"{_ENV_PREFIX}_LOG_REDACT",
        show_envvar=True,
        type=click.Choice(MASKABLE),
        multiple=True,
        help="Log this id as a stable hash; may be given several times.",
    ),
    click.option(
        "--log-redact-key",
        metavar="TEXT",
        envvar=f"{_ENV_PREFIX}_LOG_REDACT_KEY",
        show_envvar=True,
        default="",
        help="The key of those hashes; better given in the environment than as a flag.",
    ),
)


def serve_options(command: _F) -> _F:
    """Adds every setting to a click command, as a flag and as an environment variable."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
