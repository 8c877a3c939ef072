"""Where servers of a test run and as whom: PostgreSQL and PgBouncer refuse to be root."""

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["free_port", "give_away", "popen_options", "scratch"]

# Debian's PostgreSQL and most images know `postgres`; `nobody` is everywhere.
_ACCOUNTS: Final = ("postgres", "nobody")

# Waits on standard input. Ends at a line; where the test run died without a word, ends the process
# whose id stands on the first line of the file $2, stopped or not, and deletes the directory $1.
_WATCH: Final = """
read -r _ && exit
if read -r pid < "$2"; then
    kill -QUIT "$pid"; kill -CONT "$pid"
    tries=0 # bounded: a process that nobody collects looks as if it still ran
    while kill -0 "$pid" && [ $((tries += 1)) -lt 100 ]; do sleep 0.1; done
fi
rm -rf "$1"
"""


def popen_options() -> dict[str, Any]:
    """Options of `subprocess` for a server: no root, a directory that it may enter, plain words.

    Where the tests do not run as root, the server runs as whoever runs them.
    """
    environment = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
    options: dict[str, Any] = {"cwd": "/", "env": {**environment, "LC_ALL": "C"}}
    if os.geteuid() == 0:
        account = _account()
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return options


@contextmanager
def scratch(pid_file: str) -> Iterator[Path]:
    """A directory of the account of `popen_options`, deleted after the block.

    Where this process is killed inside the block, the directory goes too, and before it the process
    whose id `pid_file` in it names: nothing is left behind by a run that was cut off.
    """
    directory = Path(tempfile.mkdtemp(prefix="liquidation-"))
    give_away(directory)
    command = ["sh", "-c", _WATCH, "sh", str(directory), str(directory / pid_file)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **popen_options(),
    ) as watch:
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
            watch.communicate(b"\n")


def give_away(path: Path) -> None:
    """Makes the account of `popen_options` the owner of a path and all that is below it."""
    if os.geteuid() != 0:
        return
    account = _account()
    for each in (path, *path.rglob("*")):
        os.chown(each, account.pw_uid, account.pw_gid, follow_symlinks=False)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection is given.

    A server that is down for a while must find its port free again, and a client that tries the
    port meanwhile must not be connected to itself: both happen among the ports that the kernel
    gives to outgoing connections.
    """
    own = random.SystemRandom()  # test runs beside this one may have seeded `random` alike
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    first, last = map(int, text.split())
    ports = [port for port in range(10_000, 65_536) if not first <= port <= last]
    for port in own.sample(ports, len(ports)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port of 127.0.0.1 is free outside {first}..{last}")


def _account() -> pwd.struct_passwd:
    known = {account.pw_name: account for account in pwd.getpwall()}
    return next(known[name] for name in _ACCOUNTS if name in known)
