"""Several processes on one store, each with connections of its own: the promises hold between them.

What the processes do is in racing.py.
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

from tests.processes import ROOT
from tests.store.builders import accept_all, granted
from tests.store.racing import ACCOUNTS, request
from tests.store.stores import AwaitedStore

PROCESSES = 3


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store under test is."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'store.db'}"
    dsn: str = request.getfixturevalue("database")
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
        *("-m", "tests.store.racing", location, str(number), str(directory)),
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


async def test_processes_together_keep_one_claim_an_account_and_one_answer_a_request(
    location: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        # All of them start at once.
        racers = await asyncio.gather(
            *(
                stack.enter_async_context(racer(location, number, tmp_path))
                for number in range(1, PROCESSES + 1)
            )
        )

        async def told(what: str) -> list[Any]:
            """What each says once all of them did something at once."""
            for each in racers:
                each.told(what)
            return [await each.says() for each in racers]

        taken = await told("take")
        seen = await told("same")

    assert min(taken) > 0
    claims: dict[str, set[str]] = defaultdict(set)  # by request
    holders: dict[str, set[str]] = defaultdict(set)  # by account
    new: dict[str, int] = defaultdict(int)  # how often a claim was granted
    for request_id, claim, known in (each for told_by_one in seen for each in told_by_one):
        if claim is not None:
            claim_id, account_id = claim
            claims[request_id].add(claim_id)
            holders[account_id].add(claim_id)
            new[claim_id] += not known
    assert sorted(holders) == [f"account-{each}" for each in range(1, ACCOUNTS + 1)]
    assert {len(each) for each in holders.values()} == {1}, holders
    assert {len(each) for each in claims.values()} == {1}, claims
    assert set(new.values()) == {1}, new
    # What one got with a request, all got with it.
    for request_id, claim, _ in (each for told_by_one in seen for each in told_by_one):
        assert claim is not None or request_id not in claims, request_id


async def test_a_process_that_stops_in_the_middle_loses_the_account_to_others(
    direct: AwaitedStore, database: str, tmp_path: Path
) -> None:
    async with racer(database, 0, tmp_path) as hangs:
        hangs.told("hang")
        assert await hangs.says() == "holding"
        os.kill(hangs.process.pid, signal.SIGSTOP)
        try:
            claim = granted(await direct.begin(request("other", 1, 1), accept_all))
        finally:
            os.kill(hangs.process.pid, signal.SIGCONT)
        hangs.told("go on")
        assert await hangs.says() == "refused"
        assert await direct.claim(claim_id=claim.claim_id) == claim
        assert await direct.claim(request_id="hangs") is None
