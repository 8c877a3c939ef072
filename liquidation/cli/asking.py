"""The server that a command asks: its options, and a client of it.

Apart from what other commands share, so that reading a log does not import gRPC.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import grpc
from click.core import ParameterSource
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from liquidation.cli.options import FILE, reported, with_options
from liquidation.client import LiquidationClient, LiquidationClientError, LiquidationRefused
from liquidation.client.convert import message_of
from liquidation.config.certificates import read_certificates
from liquidation.config.settings import DEFAULT_LISTEN
from liquidation.config.tls import CertificateError

_C = TypeVar("_C", bound=Callable[..., Any])

# How long one call of a command may take, in seconds.
_TIMEOUT: Final = 30.0
_KEY: Final = re.compile(rb"[!-~]+")
# Maps of messages, which have no order there.
_MAPS: Final = frozenset({"limit_price", "facts"})
CLIENT_USAGE: Final = "--api-key-file and --tls-… are for a server: give --address"


def _address(_: click.Context, __: click.Parameter, address: str | None) -> str | None:
    if address is None or (address.startswith("unix:") and address != "unix:"):
        return address
    host, _colon, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise click.BadParameter(f"{address!r} is neither HOST:PORT nor unix:PATH")
    return address


@dataclass(frozen=True, slots=True)
class Server:
    """A server to ask, the PEM files of an encrypted connection, and the file of the key to show.

    Without `tls_ca`, which holds who may have signed the server's certificate, it is in plain text.
    """

    address: str
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    api_key_file: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What gRPC connects with; None for plain text. A file of no use ends the command."""
        if self.tls_ca is None:
            return None
        authorities = _content(self.tls_ca)
        # With none in it gRPC would trust whom it trusts by default.
        if b"-----BEGIN CERTIFICATE-----" not in authorities:
            raise click.ClickException(f"{self.tls_ca}: holds no PEM certificate")
        if self.tls_cert is None or self.tls_key is None:
            return grpc.ssl_channel_credentials(authorities)
        try:
            shown = read_certificates(self.tls_cert, self.tls_key, None, datetime.now(UTC))
        except CertificateError as error:
            raise click.ClickException(str(error)) from error
        return grpc.ssl_channel_credentials(authorities, shown.key, shown.chain)


def server_options(*, optional: bool = False, api_key: bool = True) -> Callable[[_C], Any]:
    """Adds --address and what goes with it; the command gets a `Server` as `server`.

    With `optional` it is None unless --address is given.
    """

    def added(command: _C) -> Any:
        @wraps(command)
        def asking(*args: Any, address: str | None, **more: Any) -> Any:
            ca, cert, key = (more.pop(name) for name in ("tls_ca", "tls_cert", "tls_key"))
            key_file = more.pop("api_key_file", None)
            if (cert is None) is not (key is None):
                raise click.UsageError("--tls-cert and --tls-key belong together")
            if cert is not None and ca is None:
                raise click.UsageError("--tls-cert needs --tls-ca")
            if address is not None:
                return command(*args, server=Server(address, ca, cert, key, key_file), **more)
            # From the environment it is there for whichever command asks a server.
            source = click.get_current_context().get_parameter_source("api_key_file")
            if ca is not None or source is ParameterSource.COMMANDLINE:
                raise click.UsageError(CLIENT_USAGE)
            return command(*args, server=None, **more)

        address = _optional_address if optional else _default_address
        return with_options([address, *([_api_key] if api_key else []), *_tls])(asking)

    return added


_optional_address: Final = click.option(
    "--address",
    metavar="HOST:PORT|unix:PATH",
    callback=_address,
    help="Ask the server there.  [default: no server, the rules run in this process]",
)
_default_address: Final = click.option(
    "--address",
    metavar="HOST:PORT|unix:PATH",
    callback=_address,
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Ask the server there.",
)
# A file, since what stands on a command line is read by others in the list of processes.
_api_key: Final = click.option(
    "--api-key-file",
    type=FILE,
    envvar="LIQUIDATION_API_KEY_FILE",
    show_envvar=True,
    help="The file that holds the API key to show, and nothing else.",
)
_tls: Final = (
    click.option("--tls-ca", type=FILE, help="Over TLS: who must have signed its certificate."),
    click.option("--tls-cert", type=FILE, help="Over mTLS: the certificate to show."),
    click.option("--tls-key", type=FILE, help="Over mTLS: the private key of that certificate."),
)


@contextmanager
def connected(server: Server) -> Iterator[LiquidationClient]:
    """A client of that server; a call that it does not answer ends the command."""
    key = ""
    if server.api_key_file is not None:
        content = _content(server.api_key_file).strip()
        # What else it holds is not shown: it may be a secret.
        if _KEY.fullmatch(content) is None:
            problem = "must hold one API key and nothing else"
            raise click.ClickException(f"{server.api_key_file}: {problem}")
        key = content.decode("ascii")
    credentials = server.credentials()
    with LiquidationClient(server.address, credentials, _TIMEOUT, api_key=key) as client:
        try:
            yield client
        except LiquidationClientError as error:
            problem = " ".join(str(error).split())
            if isinstance(error, LiquidationRefused):
                fields = (f"{each.field} {each.description}" for each in error.field_violations)
                told = "; ".join(fields)
                problem = f"refused the call: {problem}{f' ({told})' if told else ''}"
            raise click.ClickException(f"{server.address}: {problem}") from error


def _content(path: Path) -> bytes:
    with reported(path, OSError):
        return path.read_bytes()


def proto_json(message_type: type[Message], value: Any) -> Any:
    """The protobuf JSON of the message that says `value`: proto field names, sorted maps."""
    return _in_order(
        MessageToDict(message_of(message_type, value), preserving_proto_field_name=True)
    )


def _in_order(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_order(each) for each in value]
    if isinstance(value, dict):
        return {
            name: dict(sorted(each.items())) if name in _MAPS else _in_order(each)
            for name, each in value.items()
        }
    return value
