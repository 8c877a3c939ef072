"""Listeners: what is refused, what is bound, and whose a Unix socket is."""

import fcntl
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.config.addresses import (
    TcpAddress,
    UnixAccess,
    UnixAddress,
    parse_address,
    parse_owner,
)
from liquidation.server.listeners import (
    ListenError,
    bind,
    owned,
    require_encryption,
)
from liquidation.transport import Server
from tests.answering import answering_for_health

NOBODY = 65534


@asynccontextmanager
async def answering(
    *addresses: TcpAddress | UnixAddress, access: UnixAccess | None = None
) -> AsyncIterator[tuple[str, ...]]:
    """A server that answers for its health on these addresses."""

    def listen(server: Server) -> tuple[str, ...]:
        return tuple(bind(server, each, None, access or UnixAccess()) for each in addresses)

    async with answering_for_health(listen) as bound:
        yield bound


async def answers(address: str) -> bool:
    """Whether a call to `address` is answered."""
    # A connection of its own: by default gRPC shares those to one address, the last one's too.
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=own) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket of a program that knows nothing of locks."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        yield other


def contents(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def leave_stale(path: Path) -> None:
    """What stays of a process that was killed."""
    with listening(path):
        pass


def test_plain_text_beyond_loopback_is_refused_with_both_ways_out() -> None:
    beyond = [parse_address("127.0.0.1:1"), parse_address("unix:s"), parse_address("[::]:50051")]

    with pytest.raises(ListenError) as refused:
        require_encryption(beyond, encrypted=False, allowed=False)

    assert str(refused.value).startswith("cannot listen on [::]:50051 in plain text")
    assert "--tls-cert and --tls-key" in str(refused.value)
    assert "--allow-plaintext-beyond-loopback calls" in str(refused.value)
    require_encryption(beyond, encrypted=True, allowed=False)
    require_encryption(beyond, encrypted=False, allowed=True)
    require_encryption(beyond[:2], encrypted=False, allowed=False)


def test_an_owner_is_a_user_and_perhaps_a_group_by_name_or_number() -> None:
    assert parse_owner("root") == (0, -1)
    assert parse_owner("root:0") == (0, 0)
    assert parse_owner("1234:5678") == (1234, 5678)
    for text, words in (
        ("no-such-user", "no user 'no-such-user'"),
        ("0:no-such-group", "no group 'no-such-group'"),
        ("0:", "no group ''"),
        ("", "no user ''"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_owner(text)


async def test_a_free_port_is_told() -> None:
    async with answering(TcpAddress("127.0.0.1", 0), TcpAddress("::1", 0)) as (first, second):
        assert parse_address(first) != TcpAddress("127.0.0.1", 0)
        assert second.startswith("[::1]:")
        assert await answers(first)
        assert await answers(second)


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = TcpAddress(*taken.getsockname())
        with pytest.raises(ListenError, match=f"cannot listen on {address}"):
            async with answering(address):
                pass


@pytest.mark.parametrize("name", ["s", "a b%41?#c", "é"])
async def test_a_socket_stands_at_its_path_alone_and_goes_with_its_owner(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name / "s"
    path.parent.mkdir()
    with owned([UnixAddress(path)]):
        async with answering(UnixAddress(path)) as (address,):
            assert address == f"unix:{path}"
            assert await answers(f"unix:{quote(str(path))}")
            assert contents(path.parent) == {"s", "s.lock"}

    assert contents(path.parent) == {"s.lock"}


async def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    address = UnixAddress(Path("s"))
    with owned([address]):
        async with answering(address):
            assert await answers(f"unix:{tmp_path}/s")


async def test_the_longest_path_that_is_allowed_works(tmp_path: Path) -> None:
    room = 107 - len("/.12345678/s") - len(str(tmp_path)) - 1
    directory = tmp_path / ("d" * room)
    directory.mkdir()
    address = parse_address(f"unix:{directory}/{'s' * 11}")
    with owned([address]):
        async with answering(address):
            assert await answers(str(address))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_a_socket_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        async with answering(UnixAddress(tmp_path / "s"), access=UnixAccess(mode)):
            found = (tmp_path / "s").stat().st_mode
    finally:
        os.umask(before)

    assert stat.S_ISSOCK(found)
    assert stat.S_IMODE(found) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
async def test_a_socket_has_the_owner_that_was_asked_for(tmp_path: Path) -> None:
    access = UnixAccess(owner=f"{NOBODY}:{NOBODY - 1}")
    async with answering(UnixAddress(tmp_path / "s"), access=access):
        found = (tmp_path / "s").stat()

    assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY - 1)


async def test_a_socket_that_cannot_have_its_owner_is_never_seen(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="there is no user 'no-such-user' here"):
        async with answering(UnixAddress(tmp_path / "s"), access=UnixAccess(owner="no-such-user")):
            pass

    assert contents(tmp_path) == set()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    leave_stale(tmp_path / "s")
    with owned([UnixAddress(tmp_path / "s")]):
        async with answering(UnixAddress(tmp_path / "s")) as (address,):
            assert await answers(address)


async def test_the_socket_of_another_owner_is_refused_and_goes_on(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "s")
    with owned([address]):
        async with answering(address) as (text,):
            with (
                pytest.raises(ListenError, match=r"another process does \(it holds .*s\.lock\)"),
                owned([address]),
            ):
                pass
            assert await answers(text)


def test_a_socket_of_a_program_without_a_lock_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path) as other:
        with pytest.raises(ListenError, match="another process does"), owned([UnixAddress(path)]):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            other.accept()[0].close()


def test_a_socket_whose_queue_is_full_counts_as_living(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        with pytest.raises(ListenError, match="another process does"), owned([UnixAddress(path)]):
            pass


def test_what_is_put_at_the_path_meanwhile_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with owned([UnixAddress(path)]):
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(path))
        other.listen()
    with other:
        assert stat.S_ISSOCK(path.lstat().st_mode)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        leave_stale(tmp_path / "other")
        path.symlink_to("other")
    before = path.lstat()

    with (
        pytest.raises(ListenError, match="something else than a socket is there"),
        owned([UnixAddress(path)]),
    ):
        pass

    assert path.lstat() == before


def test_an_address_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    once = UnixAddress(tmp_path / "s")
    again = UnixAddress(tmp_path / "d" / ".." / "s")
    with pytest.raises(ListenError, match=r" twice$"), owned([once, again]):
        pass


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(ListenError, match="No such file or directory"),
        owned([UnixAddress(tmp_path / "missing" / "s")]),
    ):
        pass


def test_after_a_refusal_nothing_stays_locked(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("in the way")
    with (
        pytest.raises(ListenError),
        owned([UnixAddress(tmp_path / "a"), UnixAddress(tmp_path / "b")]),
    ):
        pass

    with (tmp_path / "a.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_successors_take_over_without_a_moment_when_nobody_listens(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "s")
    with owned([address]):
        predecessor = answering(address)
        (text,) = await predecessor.__aenter__()
        with knocking(tmp_path / "s") as failed:
            for _ in range(20):
                successor = answering(address)
                await successor.__aenter__()
                await predecessor.__aexit__(None, None, None)
                assert await answers(text)
                predecessor = successor
        await predecessor.__aexit__(None, None, None)

    assert failed == []


@contextmanager
def knocking(path: Path) -> Iterator[list[OSError]]:
    """Connects again and again while the block runs; what failed."""
    ended, begun = threading.Event(), threading.Event()
    failed: list[OSError] = []

    def knock() -> None:
        # Slowly enough that the queue of a socket has room for the calls of the test too.
        while not ended.wait(0.0005):
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
            except OSError as error:
                failed.append(error)
            begun.set()

    thread = threading.Thread(target=knock)
    thread.start()
    begun.wait()
    try:
        yield failed
    finally:
        ended.set()
        thread.join()
