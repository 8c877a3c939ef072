"""The addresses that take calls: held to what is safe, owned, and bound.

A `unix:` address is owned by one process at a time. That process holds a lock on `PATH.lock` for as
long as it, or workers of its, serve there; so a socket found at the path is either stale, or of a
program that knows no lock and is never touched.
"""

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
from liquidation.config.tls import Certificates, server_credentials
from liquidation.transport.base import Server

__all__ = [
    "ListenError",
    "bind",
    "is_stale",
    "owned",
    "require_encryption",
    "require_loopback",
    "reserved",
]

# How long a socket that was found may take to answer, in seconds.
_PROBE_S: Final = 1.0


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
    """Raises where something is at `path` that is not a stale socket."""
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
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        # Without SO_REUSEPORT first: a port that others share would be shared with them unnoticed.
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            number = alone.getsockname()[1]
        shared = held.enter_context(socket.socket(family, kind, protocol))
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((where[0], number, *where[2:]))
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return str(TcpAddress(address.host, number))
