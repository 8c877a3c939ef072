"""How a command reaches a server: where it is, how the connection is encrypted, whose key it shows.

Files are read when the server is asked, and not before. What is wrong with one of them, or with a
call, ends the command with one line on standard error that says what and where.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click
import grpc
from click.core import ParameterSource

from liquidation.cli.options import address_option, server_option
from liquidation.client import LiquidationClient, LiquidationClientError, LiquidationRefused
from liquidation.config.certificates import read_certificates
from liquidation.config.tls import CertificateError

__all__ = [
    "Server",
    "Tls",
    "connected",
    "optional_server_options",
    "server_options",
    "tls_options",
]

# How long one call of a command may take, in seconds.
_TIMEOUT: Final = 30.0
_FILE: Final = click.Path(path_type=Path)
_KEY: Final = re.compile(rb"[!-~]+")

_Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM files of an encrypted connection; without `ca` it is in plain text.

    `ca` holds who may have signed the server's certificate; `cert` is the one to show, with `key`.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What gRPC connects with; None for plain text. A file of no use ends the command."""
        if self.ca is None:
            return None
        authorities = _content(self.ca)
        # With none in it gRPC would trust whom it trusts by default.
        if b"-----BEGIN CERTIFICATE-----" not in authorities:
            raise click.ClickException(f"{self.ca}: holds no PEM certificate")
        if self.cert is None or self.key is None:
            return grpc.ssl_channel_credentials(authorities)
        try:
            shown = read_certificates(self.cert, self.key, None, datetime.now(UTC))
        except CertificateError as error:
            raise click.ClickException(str(error)) from error
        return grpc.ssl_channel_credentials(authorities, shown.key, shown.chain)


@dataclass(frozen=True, slots=True)
class Server:
    """A server to ask, and the file of the key that is shown to it."""

    address: str
    tls: Tls
    api_key_file: Path | None


def tls_options(command: _Command) -> _Command:
    """Adds --tls-ca, --tls-cert and --tls-key; the command gets them as `tls`."""

    @click.option("--tls-ca", type=_FILE, help="Over TLS: who must have signed its certificate.")
    @click.option("--tls-cert", type=_FILE, help="Over mTLS: the certificate to show.")
    @click.option("--tls-key", type=_FILE, help="Over mTLS: the private key of that certificate.")
    @wraps(command)
    def encrypted(
        *values: Any, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, **more: Any
    ) -> Any:
        if (tls_cert is None) is not (tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key belong together")
        if tls_cert is not None and tls_ca is None:
            raise click.UsageError("--tls-cert needs --tls-ca")
        return command(*values, tls=Tls(tls_ca, tls_cert, tls_key), **more)

    return encrypted


def server_options(command: _Command) -> _Command:
    """Adds --address and what goes with it; the command gets a `Server` as `server`."""

    @wraps(command)
    def asking(*values: Any, address: str, tls: Tls, api_key_file: Path | None, **more: Any) -> Any:
        return command(*values, server=Server(address, tls, api_key_file), **more)

    return server_option(_api_key_option(tls_options(asking)))


def optional_server_options(command: _Command) -> _Command:
    """The same for a command that may go without a server: `server` is None without --address."""

    @wraps(command)
    def asking(
        *values: Any, address: str | None, tls: Tls, api_key_file: Path | None, **more: Any
    ) -> Any:
        if address is not None:
            return command(*values, server=Server(address, tls, api_key_file), **more)
        # From the environment it is there for whichever command asks a server.
        source = click.get_current_context().get_parameter_source("api_key_file")
        if tls != Tls() or source is ParameterSource.COMMANDLINE:
            raise click.UsageError("--api-key-file and --tls-… are for a server: give --address")
        return command(*values, server=None, **more)

    return address_option(_api_key_option(tls_options(asking)))


# A file, since what stands on a command line is read by others in the list of processes.
_api_key_option: Final = click.option(
    "--api-key-file",
    type=_FILE,
    envvar="LIQUIDATION_API_KEY_FILE",
    show_envvar=True,
    help="The file that holds the API key to show, and nothing else.",
)


@contextmanager
def connected(server: Server) -> Iterator[LiquidationClient]:
    """A client of that server; a call that it does not answer ends the command."""
    key = _api_key(server.api_key_file)
    credentials = server.tls.credentials()
    with LiquidationClient(server.address, credentials, _TIMEOUT, api_key=key) as client:
        try:
            yield client
        except LiquidationClientError as error:
            raise click.ClickException(f"{server.address}: {_told(error)}") from error


def _api_key(path: Path | None) -> str:
    if path is None:
        return ""
    key = _content(path).strip()
    # What else it holds is not shown: it may be a secret.
    if _KEY.fullmatch(key) is None:
        raise click.ClickException(f"{path}: must hold one API key and nothing else")
    return key.decode("ascii")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def _told(error: LiquidationClientError) -> str:
    """What a call ended with, in one line."""
    words = " ".join(str(error).split())
    if not isinstance(error, LiquidationRefused):
        return words
    fields = "; ".join(f"{each.field} {each.description}" for each in error.field_violations)
    return f"refused the call: {words}{f' ({fields})' if fields else ''}"
