"""Whether the server may and can listen where it is told to."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from liquidation.config.addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_owner,
)
from liquidation.config.settings import Settings
from liquidation.server.listeners import (
    ListenError,
    bind_alone,
    is_stale,
    require_encryption,
    require_loopback,
)
from liquidation.server.preflight.files import lacks_directory
from liquidation.server.preflight.finding import Finding, State, note, ok, wrong

_LISTEN: Final = "listen"
_METRICS: Final = "metrics"
_IN_USE: Final = "in use; no fault where it is the service that this one is to replace"
# The permission of all users to connect to a Unix socket.
_EVERYBODY: Final = 0o002


def listening(settings: Settings) -> Iterator[Finding]:
    """A finding for each address that is to take calls, in their order."""
    seen: set[Address] = set()
    for address in map(parse_address, settings.listen):
        place = _place(address)
        if place in seen:
            yield wrong(_LISTEN, f"{address}: is given twice")
        elif isinstance(address, UnixAddress):
            yield from _unix(address, settings)
        else:
            yield _calls(address, settings)
        if not (isinstance(address, TcpAddress) and address.port == 0):
            seen.add(place)


def _place(address: Address) -> Address:
    """An address, in the one way to write it."""
    if isinstance(address, TcpAddress):
        return address
    return UnixAddress(address.path.parent.resolve() / address.path.name)


def metrics_address(settings: Settings) -> Finding:
    """Whether metrics, which must not be None, may and can be served where they should be."""
    address = parse_address(settings.metrics_listen or "")
    assert isinstance(address, TcpAddress), "metrics are told over HTTP"
    try:
        allowed = "metrics" in settings.allow_plaintext_beyond_loopback
        require_loopback(address, allowed=allowed)
    except ListenError as error:
        return wrong(_METRICS, str(error))
    if address.port and address in map(parse_address, settings.listen):
        return wrong(_METRICS, f"{address}: is to take calls already")
    return _bindable(_METRICS, address, "free")


def _calls(address: TcpAddress, settings: Settings) -> Finding:
    encrypted = settings.tls_cert is not None
    try:
        require_encryption(
            [address],
            encrypted=encrypted,
            allowed="calls" in settings.allow_plaintext_beyond_loopback,
        )
    except ListenError as error:
        return wrong(_LISTEN, str(error))
    if encrypted or address.loopback:
        return _bindable(_LISTEN, address, "free")
    found = _bindable(_LISTEN, address, "free, and in plain text to other hosts, as it is allowed")
    return note(found.what, found.told) if found.state is State.OK else found


def _bindable(what: str, address: TcpAddress, free: str) -> Finding:
    """Whether the port could be taken now; it is, without listening, and given back at once."""
    try:
        bind_alone(address).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return note(what, f"{address}: {_IN_USE}")
        return wrong(what, f"{address}: {error.strerror}")
    return ok(what, f"{address}: {free}")


def _unix(address: UnixAddress, settings: Settings) -> Iterator[Finding]:
    yield _socket_place(address.path)
    if settings.unix_mode & _EVERYBODY:
        told = f"{address}: with --unix-mode {settings.unix_mode:04o} every user may connect"
        yield note(_LISTEN, told)
    if settings.unix_owner is not None:
        yield _owner(address, settings.unix_owner)


def _socket_place(path: Path) -> Finding:
    name = f"unix:{path}"
    if problem := lacks_directory(path):
        return wrong(_LISTEN, f"{name}: {problem}")
    lock = path.with_name(f"{path.name}.lock")
    if lock.exists() and not os.access(lock, os.R_OK | os.W_OK):
        return wrong(_LISTEN, f"{name}: {lock} may not be written by this user")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return ok(_LISTEN, f"{name}: free")
    except OSError as error:
        return wrong(_LISTEN, f"{name}: {error.strerror}")
    if not stat.S_ISSOCK(found.st_mode):
        return wrong(_LISTEN, f"{name}: something else than a socket is there")
    if not is_stale(path):
        return note(_LISTEN, f"{name}: {_IN_USE}")
    return ok(_LISTEN, f"{name}: free; a socket that nobody listens on will be replaced")


def _owner(address: UnixAddress, owner: str) -> Finding:
    try:
        user, group = parse_owner(owner)
    except ValueError as error:
        return wrong(_LISTEN, f"{address}: {error}")
    its_groups = {-1, os.getegid(), *os.getgroups()}
    if os.geteuid() == 0 or (user == os.geteuid() and group in its_groups):
        return ok(_LISTEN, f"{address}: will be {owner}'s")
    told = f"{address}: giving it to {owner} takes the right to do so (CAP_CHOWN)"
    return note(_LISTEN, told)
