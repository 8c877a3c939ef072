"""Health: every entry in every state, what is told of a problem, and how each of them turns."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.certificates import LOCAL, Authority
from tests.cli.commands import run
from tests.processes import serving
from tests.service.test_discovery import SERVICES
from tests.sidecars import dial, health, running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
OF_CALLS = ("", *SERVICES)
FILES = ("rules", "candidate_rules", "api_keys", "tls")
ALWAYS = (*OF_CALLS, "live", "store")

STREAM = "/liquidation.v1.LiquidationRulesService/StreamCheckClaims"
ITEM = rules_service_pb2.StreamCheckClaimsRequest(
    request=samples.check(samples.low_request())
).SerializeToString()


@dataclass(frozen=True)
class Watched:
    """A server with every file that it can have, and its health."""

    directory: Path
    channel: Any

    async def check(self, entry: str) -> tuple[int, list[str]]:
        """The status of an entry, and every problem that is told beside it."""
        return await checked(self.channel, entry)

    async def states(self) -> dict[str, int]:
        return {entry: (await self.check(entry))[0] for entry in (*ALWAYS, *FILES)}

    async def until(self, entry: str, status: int) -> None:
        """Returns once an entry is told to have a status to those who watch it."""
        watch = health(self.channel, entry)
        async for response in watch:
            if response.status == status:
                watch.cancel()
                return

    def write(self, name: str, text: str) -> str:
        """Writes a file of the server; returns what was in it."""
        path = self.directory / name
        before = path.read_text()
        new = path.with_name("new")
        new.write_text(text)
        new.rename(path)
        return before


async def checked(channel: Any, entry: str) -> tuple[int, list[str]]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    call = stub.Check(health_pb2.HealthCheckRequest(service=entry), timeout=30)
    response = await call
    trailers = await call.trailing_metadata() or ()
    return response.status, [value for key, value in trailers if key == "liquidation-problem"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Watched]:
    for name in ("rules.toml", "candidate.toml"):
        (tmp_path / name).write_text('version = "1"')
    run("keys", "new", "risk", "--file", str(tmp_path / "keys"), "--permission", "check")
    authority = Authority()
    authority.issue(*LOCAL).write(tmp_path / "tls.crt", tmp_path / "tls.key")
    files = {
        "rules": tmp_path / "rules.toml",
        "candidate_rules": tmp_path / "candidate.toml",
        "api_keys": tmp_path / "keys",
        "tls_cert": tmp_path / "tls.crt",
        "tls_key": tmp_path / "tls.key",
    }
    async with running(tmp_path, **files) as server:  # type: ignore[arg-type]
        credentials = grpc.ssl_channel_credentials(authority.pem)
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            yield Watched(tmp_path, channel)


def break_store(path: Path) -> None:
    _alter(path, "ALTER TABLE liquidation RENAME TO elsewhere")


def mend_store(path: Path) -> None:
    _alter(path, "ALTER TABLE elsewhere RENAME TO liquidation")


def _alter(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("entry", [*ALWAYS, *FILES])
async def test_where_all_is_sound_every_entry_serves_and_no_problem_is_told(
    server: Watched, entry: str
) -> None:
    assert await server.check(entry) == (SERVING, [])


async def test_an_entry_that_there_is_not_is_not_found(server: Watched) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.check("liquidation.v1.NoSuchService")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    await server.until("liquidation.v1.NoSuchService", SERVICE_UNKNOWN)


async def test_a_file_that_the_server_is_not_given_has_no_entry(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        for entry in FILES:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await checked(server.channel, entry)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_without_its_store_no_service_serves_while_the_process_lives(
    server: Watched,
) -> None:
    break_store(server.directory / "store.db")
    await server.until("store", NOT_SERVING)

    without = dict.fromkeys((*OF_CALLS, "store"), NOT_SERVING)
    assert await server.states() == without | dict.fromkeys(("live", *FILES), SERVING)
    for entry in ("", "live", "rules"):
        _, problems = await server.check(entry)
        assert problems == ["store: cannot read: no such table: liquidation"]

    mend_store(server.directory / "store.db")
    await server.until("store", SERVING)
    assert set((await server.states()).values()) == {SERVING}
    assert await server.check("") == (SERVING, [])


@pytest.mark.parametrize(
    ("entry", "file", "bad", "problem"),
    [
        ("rules", "rules.toml", "r = 1", "rules: r: is not a known key"),
        ("candidate_rules", "candidate.toml", "c = 1", "candidate_rules: c: is not a known key"),
        ("api_keys", "keys", "{", "api_keys: "),
        ("tls", "tls.crt", "", "tls: "),
    ],
)
async def test_a_bad_file_turns_its_own_entry_alone_until_it_is_mended(
    server: Watched, entry: str, file: str, bad: str, problem: str
) -> None:
    good = server.write(file, bad)
    await server.until(entry, NOT_SERVING)

    expected = dict.fromkeys((*ALWAYS, *FILES), SERVING) | {entry: NOT_SERVING}
    assert await server.states() == expected
    # Whoever asks for any entry is told.
    for asked in ("", entry, "live"):
        _, (told,) = await server.check(asked)
        assert told.startswith(problem)

    server.write(file, good)
    await server.until(entry, SERVING)
    assert await server.check("") == (SERVING, [])


async def test_every_problem_is_told_by_itself(server: Watched) -> None:
    server.write("rules.toml", "r = 1")
    server.write("candidate.toml", "c = 1")
    break_store(server.directory / "store.db")
    for entry in ("rules", "candidate_rules", "store"):
        await server.until(entry, NOT_SERVING)

    status, problems = await server.check("live")

    assert status == SERVING
    names = {told.partition(":")[0] for told in problems}
    assert names == {"rules", "candidate_rules", "store"}


async def test_whatever_a_file_holds_a_problem_is_told_in_a_short_line_of_ascii(
    server: Watched,
) -> None:
    server.write("rules.toml", f'version = "1"\n"é\\n{"x" * 1000}" = 1')
    await server.until("rules", NOT_SERVING)

    _, (told,) = await server.check("rules")

    assert len(told) == 200
    assert told.startswith("rules: ? xxx")
    assert told.isascii()
    assert told.isprintable()


async def test_a_problem_with_control_characters_does_not_break_the_check(
    server: Watched,
) -> None:
    server.write("rules.toml", 'version = "1"\n"a\\u0001\\u001bb" = 1')
    await server.until("rules", NOT_SERVING)

    _, (told,) = await server.check("rules")

    assert told.startswith("rules: a")
    assert told.isprintable()


async def test_when_the_server_drains_watchers_are_told_and_hold_it_up_no_more_than_a_stream(
    tmp_path: Path,
) -> None:
    # Far longer than the test may take: nothing that is open here is waited for.
    arguments = ("--log-file", "decisions.log", "--drain-time", "600")
    with serving(tmp_path, *arguments) as process:
        async with dial(process.address) as channel:
            stream = channel.stream_stream(STREAM)()
            await stream.write(ITEM)
            await stream.read()
            watches = [health(channel, entry) for entry in ALWAYS]
            assert {(await watch.read()).status for watch in watches} == {SERVING}

            process.popen.send_signal(signal.SIGTERM)

            assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
            for ended in (*watches, stream):
                with pytest.raises(grpc.aio.AioRpcError) as over:
                    await ended.read()
                assert over.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await asyncio.to_thread(process.popen.wait) == 0


async def test_everybody_who_watches_an_entry_is_told_that_the_server_drains(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as server:
        channel = dial(server.address)
        watches = [health(channel, "") for _ in range(10)]
        assert {(await watch.read()).status for watch in watches} == {SERVING}
        told = asyncio.gather(*(watch.read() for watch in watches))

    assert {each.status for each in await told} == {NOT_SERVING}
    await channel.close()


async def test_before_the_store_answers_nothing_serves_but_the_process_itself(
    tmp_path: Path,
) -> None:
    listen = ("--listen", f"unix:{tmp_path}/s", "--log-file", "decisions.log")
    with serving(tmp_path, *listen) as process:
        process.popen.terminate()
        await asyncio.to_thread(process.popen.wait)
    break_store(tmp_path / "liquidation.db")
    # These ask before there is a server, and are answered as soon as there is one.
    at_once = [(f"grpc.{each}_reconnect_backoff_ms", 10) for each in ("initial", "min", "max")]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s", at_once) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = {
            entry: stub.Watch(health_pb2.HealthCheckRequest(service=entry), wait_for_ready=True)
            for entry in ALWAYS
        }
        with ExitStack() as started:
            await asyncio.to_thread(started.enter_context, serving(tmp_path, *listen))
            first = {entry: (await watch.read()).status for entry, watch in watches.items()}
            assert first == dict.fromkeys(ALWAYS, NOT_SERVING) | {"live": SERVING}

            mend_store(tmp_path / "liquidation.db")
            turning = [watch for entry, watch in watches.items() if entry != "live"]
            assert {(await watch.read()).status for watch in turning} == {SERVING}
            for watch in watches.values():
                watch.cancel()
