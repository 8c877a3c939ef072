"""Where the server may be reached: `HOST:PORT` and `unix:PATH`, read once and then values."""

import grp
import ipaddress
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What an address of a Unix socket begins with.
_UNIX: Final = "unix:"
# Bytes of a socket's path that the kernel takes; the last of its 108 ends the text.
_LONGEST_PATH: Final = 107
# What follows a socket's directory while the socket is made, in `listeners`.
_WHILE_MADE: Final = "/.12345678/s"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, IPv6 without brackets, and a port; port 0 is any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is certain, without asking a name server, that only this host reaches it."""
        if self.host.lower() == "localhost":
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket; a relative path counts from the working directory."""

    path: Path

    @property
    def loopback(self) -> bool:
        """True: only this host reaches it."""
        return True

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """The address that `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH` means.

    Raises:
        ValueError: it is none of these, the port is above 65535, or the path is too long.
    """
    if text.startswith(_UNIX):
        return _unix_address(text)
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{text!r} is neither HOST:PORT nor unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ValueError(f"{text!r}: {host!r} is not an IPv6 address")
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:{port}")
    return TcpAddress(host, int(port))


def _unix_address(text: str) -> UnixAddress:
    path = Path(text.removeprefix(_UNIX))
    if not path.name or "\0" in text:
        raise ValueError(f"{text!r} is neither HOST:PORT nor unix:PATH")
    longest = max(len(os.fsencode(path)), len(os.fsencode(path.parent)) + len(_WHILE_MADE))
    if longest > _LONGEST_PATH:
        raise ValueError(
            f"{text!r}: the path is too long: the kernel takes {_LONGEST_PATH} bytes, and of these"
            f" the directory may take {_LONGEST_PATH - len(_WHILE_MADE)}"
        )
    return UnixAddress(path)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class UnixAccess:
    """Who may connect to a Unix socket: its permission bits, 0 to 0o777, and its owner.

    `owner` is USER or USER:GROUP, names or numbers; None is who runs the server.
    """

    mode: int = 0o660
    owner: str | None = None


def parse_owner(text: str) -> tuple[int, int]:
    """The user and group ids that USER or USER:GROUP names; -1 for a group that is not given.

    Raises:
        ValueError: there is no such user or group here.
    """
    user, colon, group = text.partition(":")
    return (
        _number_of(user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number_of(group, "group", lambda name: grp.getgrnam(name).gr_gid) if colon else -1,
    )


def _number_of(text: str, kind: str, look_up: Callable[[str], int]) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return look_up(text)
    except KeyError:
        raise ValueError(f"there is no {kind} {text!r} here") from None
