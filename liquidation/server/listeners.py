"""Where calls arrive: the addresses, and what gRPC is told of connections."""

import errno
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from liquidation.config.addresses import (
    Address,
    TcpAddress,
    UnixAccess,
    UnixAddress,
    parse_address,
    parse_owner,
)
from liquidation.config.settings import Settings
from liquidation.config.tls import Certificates, server_credentials
from liquidation.transport.base import Options, Server

# How long a socket that was found may take to answer, in seconds.
_PROBE_S: Final = 1.0
_MS: Final = 1000
# A request over the service's own limit gets -1005 and its log line; only one that is far larger is
# cut off by gRPC itself. What gRPC reads and inflates before anybody is asked is as much: others
# wait for that, and it is held for a caller who keeps the end back.
_TRANSPORT_FACTOR: Final = 2
# Calls that have come and that the transport has not taken up. Beyond gRPC's own default of 1000
# it cancels calls by chance, and where somebody floods it with calls, those of others too. A call
# that was taken back counts until it is taken up, and holds some 45 KiB until then.
_MOST_NOT_YET_TAKEN: Final = 10_000
# What gRPC takes for "never", in milliseconds.
_NEVER_MS: Final = 2**31 - 1
# A connection that says nothing for so long is asked whether it still stands, and closed if no
# answer comes: a host that vanished leaves no connection behind.
_ASK_AFTER_MS: Final = 60 * _MS
_ANSWER_WITHIN_MS: Final = 20 * _MS
# How often clients may ask the same; gRPC's own default of five minutes closes the connections of
# those who guard against proxies that drop idle ones.
_ASKED_AT_MOST_EACH_MS: Final = 10 * _MS
# How long a connection may take to shake hands; gRPC's own default is two minutes.
_HANDSHAKE_WITHIN_MS: Final = 10 * _MS


class ListenError(Exception):
    """An address that the server cannot, or must not, listen on."""


def require_encryption(addresses: Iterable[Address], *, encrypted: bool, allowed: bool) -> None:
    """Refuses plain text on an address that other hosts may reach, unless that is `allowed`.

    Raises:
        ListenError: for the first such address.
    """
    if encrypted or allowed:
        return
    for address in addresses:
        if not address.loopback:
            raise ListenError(
                f"cannot listen on {address} in plain text: other hosts may reach it; give"
                " --tls-cert and --tls-key, or allow it with"
                " --allow-plaintext-beyond-loopback calls"
            )


def require_loopback(metrics: Address, *, allowed: bool) -> None:
    """Refuses to serve metrics where other hosts may reach them, unless that is `allowed`.

    Raises:
        ListenError: they may.
    """
    if not allowed and not metrics.loopback:
        raise ListenError(
            f"cannot serve metrics on {metrics}: other hosts may reach it, in plain text; allow it"
            " with --allow-plaintext-beyond-loopback metrics"
        )


@contextmanager
def owned(addresses: Sequence[Address]) -> Iterator[None]:
    """Holds the Unix sockets among `addresses` as this process's own until the end of the block.

    For the process that serves them or whose workers do, around all of `bind` and serving. At the
    end the sockets are removed. TCP addresses are the kernel's to share out.

    Raises:
        ListenError: another process listens on one, its path holds something else, or it stands
            there twice.
    """
    paths = [address.path for address in addresses if isinstance(address, UnixAddress)]
    with ExitStack() as held:
        locked: set[Path] = set()
        for path in paths:
            place = path.parent.resolve() / path.name
            if place in locked:
                raise ListenError(f"cannot listen on unix:{path} twice")
            locked.add(place)
            held.enter_context(_locked(path))
            _require_free(path)
        # Paths are removed while the locks are held, and only where nobody answers: not what a
        # program that knows no lock has put there.
        for path in paths:
            held.callback(_remove_stale, path)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds `PATH.lock`, which stays: a name that comes and goes could be held twice."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ListenError(
            f"cannot listen on unix:{path}: {lock} cannot be opened: {error.strerror}"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ListenError(
                f"cannot listen on unix:{path}: another process does (it holds {lock})"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _require_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"cannot listen on unix:{path}: something else than a socket is there")
    if not is_stale(path):
        raise ListenError(f"cannot listen on unix:{path}: another process does")


def is_stale(path: Path) -> bool:
    """Whether it is certain that nobody listens on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            # Anything else, such as a full queue or a missing permission, may be a living one.
            return error.errno in (errno.ECONNREFUSED, errno.ENOENT)
    return False


def _remove_stale(path: Path) -> None:
    with suppress(OSError):  # a socket that stays is replaced at the next start
        if stat.S_ISSOCK(path.lstat().st_mode) and is_stale(path):
            path.unlink()


def bind(
    server: Server,
    address: Address,
    certificates: Callable[[], Certificates] | None,
    access: UnixAccess,
) -> str:
    """Makes `server` listen on `address`; returns it with the port that was given for port 0.

    With `certificates`, calls to a TCP address are encrypted, see `server_credentials`. A Unix
    socket is in plain text always, and replaces what stands at its path at once: do it while
    `owned`. It is removed at the end of `owned`, not with the server.

    Raises:
        ListenError: the address cannot be listened on, or the socket not given its owner.
    """
    if isinstance(address, UnixAddress):
        _bind_unix(server, address.path, access)
        return str(address)
    try:
        credentials = None if certificates is None else server_credentials(certificates)
        port = server.listen(str(address), credentials)
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address}: is it in use?") from error
    return str(TcpAddress(address.host, port))


def _bind_unix(server: Server, path: Path, access: UnixAccess) -> None:
    """Makes the socket where nobody else reaches it, and moves it to `path` when it is complete.

    gRPC removes what stands at the path that it binds, and again when it shuts down. With a path
    that nobody else uses, that is neither another's socket nor a successor's.
    """
    try:
        user, group = (-1, -1) if access.owner is None else parse_owner(access.owner)
        with _unreachable(path) as made:
            # gRPC reads an address as part of a URI.
            server.listen(f"unix:{quote(os.fsencode(made))}")
            made.chmod(access.mode)
            os.chown(made, user, group)
            made.rename(path)
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path}: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        raise ListenError(f"cannot listen on unix:{path}: {error}") from error


@contextmanager
def _unreachable(path: Path) -> Iterator[Path]:
    """A path for a socket in the directory of `path`, that no other user can connect to."""
    directory = path.with_name(f".{secrets.token_hex(4)}")
    directory.mkdir(0o700)
    made = directory / "s"
    try:
        yield made
    finally:
        made.unlink(missing_ok=True)
        directory.rmdir()


@contextmanager
def reserved(addresses: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The addresses with port 0 made a free one, held until the end of the block.

    A bound socket that does not listen takes no connections; it keeps the port for the workers,
    also while none of them runs.

    Raises:
        ListenError: one cannot be listened on.
    """
    with ExitStack() as held:
        yield tuple(_reserve(address, held) for address in addresses)


def _reserve(text: str, held: ExitStack) -> str:
    address = parse_address(text)
    if not isinstance(address, TcpAddress):
        return text
    try:
        # Alone first: a port that others share would be shared with them unnoticed.
        with bind_alone(address) as alone:
            where = alone.getsockname()
        shared = held.enter_context(socket.socket(alone.family, alone.type, alone.proto))
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(where)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return str(TcpAddress(address.host, where[1]))


def bind_alone(address: TcpAddress) -> socket.socket:
    """A socket that has the address for itself, and does not listen on it.

    Raises:
        OSError: the name is unknown, or the address is another's.
    """
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )[0]
    alone = socket.socket(family, kind, protocol)
    try:
        # With it the socket is in nobody's way who begins to listen just now.
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(where)
    except OSError:
        alone.close()
        raise
    return alone


def channel_options(settings: Settings, max_request_bytes: int, *, shared: bool) -> Options:
    """The options of a server within the bounds that are set.

    `max_request_bytes` is the service's own limit. `shared` lets other processes of this user
    listen on the same port.
    """
    return (
        # Two servers on one port would share its calls without anybody noticing.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", _TRANSPORT_FACTOR * max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.server.max_pending_requests", _MOST_NOT_YET_TAKEN),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_NOT_YET_TAKEN),
        # By its own measure gRPC would take 4 MiB of each stream before anybody reads it.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.max_connection_idle)),
        ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace * _MS)),
        # Two bounds with one value: between them gRPC would refuse by chance.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_WITHIN_MS),
        ("grpc.keepalive_time_ms", _ASK_AFTER_MS),
        # Two names of one bound: gRPC goes by the second, whose own default is a minute.
        ("grpc.keepalive_timeout_ms", _ANSWER_WITHIN_MS),
        ("grpc.http2.ping_timeout_ms", _ANSWER_WITHIN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ASKED_AT_MOST_EACH_MS),
    )


def _milliseconds(seconds: float) -> int:
    """A span for gRPC, where 0 is never."""
    return min(int(seconds * _MS), _NEVER_MS) if seconds else _NEVER_MS
