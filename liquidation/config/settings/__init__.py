"""What `liquidation serve` is told: the only reader of its flags and environment.

Each setting is a flag and an environment variable, `--log-file` and `LIQUIDATION_LOG_FILE`; the
flag wins.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from liquidation.config.settings.options import DEFAULT_LISTEN, SECTIONS, serve_options
from liquidation.config.settings.setting import Section, Setting
from liquidation.config.text_file import read_text
from liquidation.rules.numbers import ONE
from liquidation.rules.policy import Policy, PolicyError, read_policy
from liquidation.store.locations import SqliteFile, StoreLocation

__all__ = [
    "DEFAULT_LISTEN",
    "SECTIONS",
    "Section",
    "Setting",
    "Settings",
    "load_policy",
    "serve_options",
]

_STORE: Final = SqliteFile(Path("liquidation.db"))


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
