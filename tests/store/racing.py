"""A process that races others on the same store, and what it saw; see test_processes.

Whoever holds an account also holds a file of it, by a lock that the kernel gives to one at a time:
two that hold one account are noticed when it happens, whatever their clocks say.
"""

import asyncio
import fcntl
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from liquidation.rules.decision import Decision
from liquidation.rules.model import ClaimState, StoredState
from liquidation.store.base import BeginRequest, StoreUnavailableError
from liquidation.store.locations import open_store, parse_location
from tests.store.builders import LEASE_S, accept_all, of_account, terms
from tests.store.stores import AwaitedStore

ACCOUNTS: Final = 8
# Claims that a process holds at once, and how often each begins one.
_TASKS: Final = 4
_ROUNDS: Final = 10


def request(request_id: str, number: int, process: int) -> BeginRequest:
    """A claim on liquidation `number`, asked for by a process."""
    return BeginRequest(
        request_id,
        claim_id=f"claim-{process}-{request_id}",
        decision_id=f"decision-{process}-{request_id}",
        terms=terms(number),
        snapshot=of_account(number),
        lease_us=LEASE_S * 1_000_000,
    )


class Overlap(Exception):  # noqa: N818 - it is what was seen, not an error of the test
    """Two held one account, or a token did not grow."""


@contextmanager
def held(directory: Path, number: int, token: int) -> Iterator[None]:
    """The file of an account, held while its claim is."""
    descriptor = os.open(directory / f"account-{number}", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        last = int(os.pread(descriptor, 100, 0) or b"0")
        if token <= last:
            raise Overlap(f"account {number}: token {token} after {last}")
        os.pwrite(descriptor, str(token).encode(), 0)
        yield
    except BlockingIOError:
        raise Overlap(f"account {number} is held by another") from None
    finally:
        os.close(descriptor)


async def same_requests(store: AwaitedStore, process: int) -> list[Any]:
    """What became of requests that every process sends, and of one of its own for each account."""
    asked = [
        request(f"{owner}-{number}", number, process)
        for number in range(1, ACCOUNTS + 1)
        for owner in ("all", f"own-{process}")
    ]
    begun = await asyncio.gather(*(store.begin(each, accept_all) for each in asked))
    return [
        (sent.request_id, got.claim and (got.claim.claim_id, got.claim.account_id), got.known)
        for sent, got in zip(asked, begun, strict=True)
    ]


async def take_and_give_back(store: AwaitedStore, process: int, directory: Path) -> int:
    """Takes accounts and gives them back; how often it did.

    Raises:
        Overlap: an account was another's.
    """
    chance = random.Random(process)
    taken = 0

    async def one(task: int) -> None:
        nonlocal taken
        for turn in range(_ROUNDS):
            number = chance.randint(1, ACCOUNTS)
            asked = request(f"turn-{process}-{task}-{turn}", number, process)
            claim = (await store.begin(asked, accept_all)).claim
            if claim is None:
                continue
            with held(directory, number, claim.fencing_token):
                await asyncio.sleep(0)
            state = chance.choice([ClaimState.COMPLETED, ClaimState.CANCELLED])
            assert (await store.end(claim.claim_id, claim.fencing_token, state)).applied
            taken += 1

    async with asyncio.TaskGroup() as tasks:
        for task in range(_TASKS):
            tasks.create_task(one(task))
    return taken


async def hang(store: AwaitedStore) -> str:
    """Begins a claim, and stops while it holds the account until it is told to go on."""
    asked = 0

    def stop(state: StoredState) -> Decision:
        nonlocal asked
        asked += 1
        if asked == 1:
            tell("holding")
            sys.stdin.readline()
        return accept_all(state)

    try:
        begun = await store.begin(request("hangs", 1, 0), stop)
    except StoreUnavailableError:
        return "refused"
    return "granted" if begun.claim is not None else "refused"


def tell(what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - it is what the parent reads


async def main(location: str, process: int, directory: Path) -> None:
    """Does what it is told, line by line, and tells what it saw."""
    timeout_s = 2 if process == 0 else 20
    async with AwaitedStore(
        open_store(parse_location(location), timeout_s=timeout_s, connections=4)
    ) as store:
        await store.put([of_account(each) for each in range(1, ACCOUNTS + 1)])
        tell("ready")
        while what := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if what == "same":
                tell(await same_requests(store, process))
            elif what == "take":
                tell(await take_and_give_back(store, process, directory))
            elif what == "hang":
                tell(await hang(store))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
