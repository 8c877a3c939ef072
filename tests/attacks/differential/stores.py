"""Stores for the servers of a run: a SQLite file each, or databases of a PostgreSQL of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.attacks.differential.run import StoreFor

_USER: Final = "differential"
# PostgreSQL refuses to be root; one of these accounts is everywhere.
_ACCOUNTS: Final = ("postgres", "nobody")


@contextmanager
def store_of(engine: str) -> Iterator[StoreFor]:
    """Gives each server a new store of an engine, "sqlite" or "postgres".

    Raises:
        SystemExit: there is no PostgreSQL on the PATH.
        CalledProcessError: it does not start.
    """
    if engine == "sqlite":
        yield lambda directory: f"sqlite:{directory / 'store.db'}"
        return
    with _postgres() as url:
        yield lambda directory: _new_database(url, directory.name)


def _new_database(url: str, name: str) -> str:
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{url}/{name}"


@contextmanager
def _postgres() -> Iterator[str]:
    """A server of its own on a port of loopback, gone with its data after the block."""
    if not (found := shutil.which("postgres")):
        raise SystemExit("no PostgreSQL on the PATH")
    programs, port = Path(found).resolve().parent, _free_port()
    with tempfile.TemporaryDirectory() as name:
        account = _without_root(Path(name))
        data = ["-D", f"{name}/data"]
        setup = [str(programs / "initdb"), *data, "-U", _USER, "-A", "trust", "--no-sync"]
        _run(setup, account)
        flags = f"-h 127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"
        control = [str(programs / "pg_ctl"), *data, "-w"]
        _run([*control, "-l", f"{name}/log", "-o", flags, "start"], account)
        try:
            yield f"postgresql://{_USER}@127.0.0.1:{port}"
        finally:
            _run([*control, "-m", "fast", "stop"], account)


def _run(command: list[str], account: dict[str, Any]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **account)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _without_root(directory: Path) -> dict[str, Any]:
    """Options of `subprocess` for an account that is not root, which gets the directory."""
    if os.geteuid() != 0:
        return {}
    known = {account.pw_name: account for account in pwd.getpwall()}
    account = next(known[name] for name in _ACCOUNTS if name in known)
    os.chown(directory, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
