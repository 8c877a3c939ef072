"""Every setting of `liquidation serve`: its flag, what it may be, and what it means."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from liquidation.config.settings import (
    DEFAULT_LISTEN,
    Seconds,
    Section,
    Setting,
    check_addresses,
    check_owner,
    parse_metrics_address,
    parse_mode,
    parse_share,
    parse_store,
)

# The keys of a log line whose texts may be masked.
MASKABLE: Final = ("account_id", "liquidator_id", "request_id", "peer")

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path)

_CALLS: Final = Section(
    "Where calls come in",
    (
        Setting(
            flag="--listen",
            meaning="Where to take calls. Port 0 is any free port.",
            metavar="HOST:PORT|unix:PATH",
            allowed="`HOST:PORT`, `unix:PATH`",
            repeatable=True,
            default=(DEFAULT_LISTEN,),
            callback=check_addresses,
        ),
        Setting(
            flag="--transport",
            meaning="What carries calls: gRPC's completion queue, or the slower public server of"
            " grpcio. The second is taken by itself if the first does not work here.",
            type=click.Choice(["queue", "threads"]),
            default="queue",
        ),
        Setting(
            flag="--unix-mode",
            meaning="Who may connect to a unix: address, as chmod takes it.",
            metavar="OCTAL",
            allowed="0 to 0777",
            default="0660",
            callback=parse_mode,
        ),
        Setting(
            flag="--unix-owner",
            meaning="Whose a unix: address is, by names or numbers.",
            metavar="USER[:GROUP]",
            allowed="`USER`, `USER:GROUP`",
            unset="the user and group of the process",
            callback=check_owner,
        ),
        Setting(
            flag="--allow-plaintext-beyond-loopback",
            meaning="Serve calls, or metrics, unencrypted to other hosts too.",
            type=click.Choice(["calls", "metrics"]),
            unset="neither",
            repeatable=True,
        ),
    ),
)
_TRUST: Final = Section(
    "Encryption and keys",
    (
        Setting(
            flag="--tls-cert",
            meaning="The certificate, with its chain, in PEM; with it all TCP addresses speak TLS.",
            type=_FILE,
            unset="no encryption",
        ),
        Setting(
            flag="--tls-key",
            meaning="The certificate's private key, in PEM.",
            type=_FILE,
            unset="no encryption",
        ),
        Setting(
            flag="--tls-client-ca",
            meaning="Certificates in PEM, one of which must have signed that of each caller.",
            type=_FILE,
            unset="callers need no certificate",
        ),
        Setting(
            flag="--api-keys",
            meaning="The file of hashed API keys; with it every call needs a key.",
            type=_FILE,
            unset="callers need no key",
        ),
    ),
)
_DECIDING: Final = Section(
    "Rules and state",
    (
        Setting(
            flag="--rules",
            meaning="A rules.toml with thresholds, modes and limits.",
            type=_FILE,
            unset="the built-in rules",
        ),
        Setting(
            flag="--candidate-rules",
            meaning="A rules.toml whose verdicts are compared with those in force, and refuse"
            " nothing.",
            type=_FILE,
            unset="nothing is compared",
        ),
        Setting(
            flag="--store",
            meaning="Where liquidations and claims are kept: a SQLite file, made on first use, or a"
            " PostgreSQL database. A password is better given in the file that PGPASSFILE names, in"
            " PGPASSWORD or in this variable than in the flag, which every user of the host sees.",
            metavar="sqlite:PATH|postgresql://URL",
            allowed="`sqlite:PATH`, `postgresql://USER@HOST:PORT/DATABASE`",
            default="sqlite:liquidation.db",
            callback=parse_store,
        ),
        Setting(
            flag="--store-timeout",
            meaning="Seconds that the store has to answer; then a call is refused with -1011.",
            type=Seconds(0.1, 10),
            default=2,
        ),
        Setting(
            flag="--store-connections",
            meaning="Connections of one worker to a PostgreSQL database at most.",
            metavar="N",
            type=click.IntRange(1, 100),
            default=8,
        ),
        Setting(
            flag="--workers",
            meaning="How many processes share the addresses and the store.",
            metavar="N",
            type=click.IntRange(1, 64),
            default=1,
        ),
    ),
)
_LOG: Final = Section(
    "The decision log",
    (
        Setting(
            flag="--log-file",
            meaning="Where the decision log goes; lines are appended, a new file gets mode 0640.",
            type=_FILE,
            unset="standard output",
        ),
        Setting(
            flag="--log-sample",
            meaning="The share of accepted decisions that is logged; all else always is.",
            metavar="SHARE",
            allowed="0 to 1",
            default="1",
            callback=parse_share,
        ),
        Setting(
            flag="--log-redact",
            meaning="Log this id as a stable hash.",
            type=click.Choice(MASKABLE),
            unset="none",
            repeatable=True,
        ),
        Setting(
            flag="--log-redact-key",
            meaning="The key of those hashes; better given in the environment than as a flag.",
            metavar="TEXT",
            allowed="a text",
            default="",
            unset="no key",
        ),
    ),
)
_WATCHING: Final = Section(
    "Metrics and tracing",
    (
        Setting(
            flag="--metrics-listen",
            meaning="Where Prometheus finds the metrics; a port alone is one of 127.0.0.1.",
            metavar="HOST:PORT|PORT",
            allowed="`HOST:PORT`, `PORT`",
            unset="off",
            callback=parse_metrics_address,
        ),
        Setting(
            flag="--tracing",
            meaning="Where spans go: nowhere, or to an OpenTelemetry collector that the standard"
            " OTEL_EXPORTER_OTLP_* variables name.",
            type=click.Choice(["off", "otlp"]),
            default="off",
        ),
    ),
)
_BOUNDS: Final = Section(
    "Bounds of connections and calls",
    (
        Setting(
            flag="--max-streams-per-connection",
            meaning="Calls at once on one connection; further ones wait in their client.",
            metavar="N",
            type=click.IntRange(1, 1_000_000),
            default=1000,
        ),
        Setting(
            flag="--max-connection-idle",
            meaning="Seconds after which a connection without calls is closed; 0 is never.",
            type=Seconds(),
            default=600,
        ),
        Setting(
            flag="--max-connection-age",
            meaning="Seconds after which a connection is asked to end, so that callers spread"
            " anew; 0 is never.",
            type=Seconds(),
            default=0,
        ),
        Setting(
            flag="--max-connection-age-grace",
            meaning="Seconds that calls on such a connection have to end before it is closed.",
            type=Seconds(),
            default=30,
        ),
        Setting(
            flag="--max-metadata-bytes",
            meaning="Bytes of a call's headers that are taken.",
            metavar="BYTES",
            type=click.IntRange(1024, 1_048_576),
            default=16384,
        ),
        Setting(
            flag="--max-memory",
            meaning="Memory limit per worker in MiB. Above it, calls that wait for their callers"
            " are ended; 0 disables the limit.",
            metavar="MIB",
            type=click.IntRange(0, 1_048_576),
            default=1024,
        ),
        Setting(
            flag="--max-call-time",
            meaning="Seconds that a call may wait to be decided, whatever its own deadline.",
            type=Seconds(0.1),
            default=30,
        ),
        Setting(
            flag="--drain-time",
            meaning="Seconds that calls in progress have to end once the server is told to.",
            type=Seconds(),
            default=10,
        ),
    ),
)

# Every setting, in the order in which help and documents tell them.
SECTIONS: Final = (_CALLS, _TRUST, _DECIDING, _LOG, _WATCHING, _BOUNDS)


def serve_options(command: _F) -> _F:
    """Adds every setting to a click command, as a flag and as an environment variable."""
    for section in reversed(SECTIONS):
        for setting in reversed(section.settings):
            command = setting.option(command)
    return command
