"""Several processes on one store, each with connections of its own: the promises hold between them.

What the processes do stands in racing.py.
"""

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from liquidation.store.locations import parse_location
from liquidation.store.opening import open_store
from tests.processes import ROOT
from tests.store.awaited import AwaitedStore
from tests.store.claiming import accept_all, granted
from tests.store.opened import opened
from tests.store.racing import ACCOUNTS, account, request

PROCESSES = 4


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store under test is kept."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'store.db'}"
    dsn: str = request.getfixturevalue("postgres_database")
    return dsn


class Racer:
    """A process that races."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def told(self, what: str) -> None:
        """Lets it go on with something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n".encode())

    async def says(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "it ended; see its standard error above"
        return json.loads(line)


@asynccontextmanager
async def racer(location: str, number: int, directory: Path) -> AsyncIterator[Racer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.racing",
        location,
        str(number),
        str(directory),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    racer = Racer(process)
    try:
        assert await racer.says() == "ready"
        yield racer
        racer.told("")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def racers(location: str, directory: Path) -> AsyncIterator[list[Racer]]:
    """Processes that wait for the word to begin."""
    async with AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(racer(location, number, directory))
            for number in range(1, PROCESSES + 1)
        ]
        yield [await each for each in starting]


async def all_told(racers: list[Racer], what: str) -> list[Any]:
    """What each says once all of them did something at once."""
    for each in racers:
        each.told(what)
    return [await each.says() for each in racers]


async def test_the_same_requests_of_many_processes_are_one_claim_each(
    location: str, tmp_path: Path
) -> None:
    async with racers(location, tmp_path) as processes:
        seen = await all_told(processes, "same")

    claims: dict[str, set[tuple[str, str]]] = defaultdict(set)
    holders: dict[str, set[str]] = defaultdict(set)
    new: dict[str, int] = defaultdict(int)
    for request_id, claim, known in (each for told in seen for each in told):
        if claim is None:
            continue
        claim_id, account_id = claim
        claims[request_id].add((claim_id, account_id))
        holders[account_id].add(claim_id)
        new[claim_id] += not known
    assert sorted(holders) == [account(each) for each in range(1, ACCOUNTS + 1)]
    assert all(len(each) == 1 for each in holders.values()), holders
    assert all(len(each) == 1 for each in claims.values()), claims
    assert set(new.values()) == {1}, new
    # What one got with a request, all got with it.
    for told in seen:
        for request_id, claim, _ in told:
            if request_id.startswith("all-") and request_id in claims:
                assert claim is not None, request_id


async def test_processes_that_take_turns_never_hold_an_account_together(
    location: str, tmp_path: Path
) -> None:
    async with racers(location, tmp_path) as processes:
        turns = await all_told(processes, "turns")

    assert min(turns) > 0


async def test_a_process_that_is_stopped_in_the_middle_loses_the_account_to_others(
    postgres_database: str, tmp_path: Path
) -> None:
    async with (
        racer(postgres_database, 0, tmp_path) as hangs,
        opened(postgres_database) as store,
    ):
        hangs.told("hang")
        assert await hangs.says() == "holding"
        os.kill(hangs.process.pid, signal.SIGSTOP)
        try:
            claim = granted(await store.begin(request("other", 1, 1), accept_all))
        finally:
            os.kill(hangs.process.pid, signal.SIGCONT)
        hangs.told("go on")
        assert await hangs.says() == "refused"
        assert await store.claim(claim_id=claim.claim_id) == claim
        assert await store.claim(request_id="hangs") is None


async def test_two_that_find_the_same_store_see_each_other_s_claims_at_once(location: str) -> None:
    async with AsyncExitStack() as stack:
        one, other = [
            AwaitedStore(open_store(parse_location(location), timeout_s=20, connections=4))
            for _ in range(2)
        ]
        stack.push_async_callback(one.aclose)
        stack.push_async_callback(other.aclose)
        for turn in range(50):
            begun = await one.begin(request(f"one-{turn}", 1, 1), accept_all)
            assert (await other.begin(request(f"other-{turn}", 1, 2), accept_all)).claim is None
            claim = granted(begun)
            await other.end(claim.claim_id, claim.fencing_token, claim.state.CANCELLED, "")
            one, other = other, one
