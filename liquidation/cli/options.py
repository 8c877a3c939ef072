"""What several commands share: options and their types, the server to ask, and what is printed.

A user never sees a traceback for what went wrong outside of the program: one line on standard
error says what and where. Files are read when they are needed, and not before.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce, wraps
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click
import grpc
import orjson
from click.core import ParameterSource
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from liquidation import needs_extra
from liquidation.client import LiquidationClient, LiquidationClientError, LiquidationRefused
from liquidation.client.convert import message_of
from liquidation.config.certificates import read_certificates
from liquidation.config.settings import DEFAULT_LISTEN, load_policy
from liquidation.config.tls import CertificateError
from liquidation.rules.numbers import MAX_INT64, plain
from liquidation.rules.policy import Policy, PolicyError

if TYPE_CHECKING:
    # It needs rich, which not every installation has.
    from liquidation.cli.table import Bar, Screen

# A text and its style; a cell of a table is one, a plain text, or several in a row.
Piece = tuple[str, str]
Cell = str | Piece | list[Piece]
# A column's name, which begins with ">" if it holds numbers, and how rich is to lay it out.
Column = str | tuple[str, dict[str, Any]]

_C = TypeVar("_C", bound=Callable[..., Any])

# How long one call of a command may take, in seconds.
_TIMEOUT: Final = 30.0
_INT64_DIGITS: Final = 19
_KEY: Final = re.compile(rb"[!-~]+")
# Bytes from which on input is long, and worth a progress bar.
_LONG: Final = 1024 * 1024
# Maps of messages, which have no order there.
_MAPS: Final = frozenset({"limit_price", "facts"})
# Rows that are drawn as one table, and so held in memory.
PAGE: Final = 500
# Characters below which a screen is narrow.
NARROW: Final = 80
FILE: Final = click.Path(path_type=Path)
CLIENT_USAGE: Final = "--api-key-file and --tls-… are for a server: give --address"


# Types of options and arguments.


def number(text: str) -> int:
    """An id or a token: a whole number above zero that an int64 holds."""
    # Python reads no number of thousands of digits, and says so with an error.
    digits = text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS
    found = int(text) if digits else 0
    if not 0 < found <= MAX_INT64:
        raise click.BadParameter(f"{text[:40]!r} is not a whole number from 1 to {MAX_INT64}")
    return found


def text(given: str) -> str:
    """A text that can be sent: a terminal of another encoding gives bytes that are none."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{given!r} is not UTF-8 text") from None
    return given


def _address(_: click.Context, __: click.Parameter, address: str | None) -> str | None:
    if address is None or (address.startswith("unix:") and address != "unix:"):
        return address
    host, _colon, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise click.BadParameter(f"{address!r} is neither HOST:PORT nor unix:PATH")
    return address


# Options.


def with_options(options: Iterable[Callable[[Any], Any]]) -> Callable[[_C], _C]:
    """Adds several options to a command, in this order."""
    return lambda command: reduce(lambda so_far, add: add(so_far), reversed([*options]), command)


def format_option(*for_programs: str, help_: str) -> Callable[[_C], _C]:
    """`--format`: a table for people, which is the default, or one of the forms for programs."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", *for_programs]),
        default="table",
        show_default=True,
        help=help_,
    )


rules_option: Final = click.option(
    "--rules",
    type=FILE,
    help="The rules.toml to run here, without a server.  [default: the built-in rules]",
)


def policy_of(path: Path | None) -> Policy:
    """The rules in the file at `path`, or the built-in ones; a bad file ends the command."""
    with reported(path, PolicyError):
        return load_policy(path)


# The server to ask.


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


# What is printed.


@contextmanager
def reported(what: object, *kinds: type[Exception]) -> Iterator[None]:
    """Ends the command with one line, about `what`, if an error of these kinds is raised."""
    try:
        yield
    except kinds as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or error
        raise click.ClickException(printable(f"{what}: {problem}")) from error


def screen(what: str = "a table", otherwise: str = "; or choose another --format") -> "Screen":
    """What draws tables; without the extra `cli` the command ends with one line that says so."""
    try:
        from liquidation.cli.table import Screen  # noqa: PLC0415 - it needs rich
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_extra(what, "cli") + otherwise) from error
    return Screen()


def progress_bar(size: int) -> "Bar | None":
    """A bar for reading so many bytes, if they are many and somebody looks at standard error."""
    if size < _LONG or not sys.stderr.isatty():
        return None
    try:
        from liquidation.cli.table import Bar  # noqa: PLC0415 - it needs rich
    except ModuleNotFoundError:
        return None
    return Bar(size)


def size_of(file: BinaryIO) -> int:
    """Bytes of a regular file; 0 for what has no size, such as a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, UnsupportedOperation):
        return 0


def write_json(record: Any, option: int = orjson.OPT_INDENT_2) -> None:
    """A JSON document on standard output."""
    click.echo(orjson.dumps(record, option=option))


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


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    columns = tuple(columns)
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def printable(text: str) -> str:
    """`text` without control characters, which could draw on the user's screen."""
    return "".join(
        each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def moment(time: datetime) -> str:
    """A time as people read it, to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def plainly(value: Any) -> str:
    """A number in plain decimals; "" for None."""
    return "" if value is None else plain(value)
