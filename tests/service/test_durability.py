"""What an acknowledged claim survives, and what a disk that refuses does to the others."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liquidation.v1 import claim_service_pb2 as pb
from tests.attacks.torture.calls import call
from tests.processes import ROOT, Process, serving
from tests.service.test_claims import begin_request
from tests.sidecars import dial

# A server whose answer to BeginClaim is never sent: it kills itself between commit and answer.
KILLED_BEFORE_THE_ANSWER = """
import os, signal, sys
from liquidation.api import begin

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

begin.fill_claim = die
from liquidation.cli import main
main(["serve", *sys.argv[1:]])
"""


@contextmanager
def started(script: str, *arguments: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A server that a script of the test's own starts, and that does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as popen:
        try:
            yield popen
        finally:
            popen.kill()


UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


async def begin(address: str, request_id: str, account: int = 1) -> tuple[int | None, Any]:
    """The code of a BeginClaim and the claim, on an account of its own."""
    request = begin_request(
        request_id,
        terms={"liquidation_id": account},
        liquidation={"liquidation_id": account, "account_id": f"account-{account}"},
    )
    async with dial(address) as channel:
        code, response, _ = await call(channel, "BeginClaim", request)
    return code, pb.BeginClaimResponse.FromString(response).claim if code == 0 else None


async def listed(address: str) -> list[pb.Claim]:
    async with dial(address) as channel:
        _, response, _ = await call(channel, "ListClaims", pb.ListClaimsRequest())
    return list(pb.ListClaimsResponse.FromString(response).claims)


async def test_killed_between_commit_and_answer_the_retry_gets_the_same_claim_and_token(
    tmp_path: Path,
) -> None:
    arguments = ["--listen=127.0.0.1:0", "--log-file=decisions.log"]
    with started(KILLED_BEFORE_THE_ANSWER, *arguments, directory=tmp_path) as popen:
        assert popen.stdout is not None
        address = json.loads(popen.stdout.readline())["addresses"][0]
        code, _ = await begin(address, "r-1")
        assert code is None
        assert popen.wait() == -signal.SIGKILL

    with serving(tmp_path, "--log-file", "decisions.log") as process:
        (committed,) = await listed(process.address)
        code, claim = await begin(process.address, "r-1")
        another, _ = await begin(process.address, "r-2")

    assert (code, another) == (0, -1012)
    assert claim == committed
    assert (claim.request_id, claim.fencing_token) == ("r-1", 1)


def limit_files_to(process: Process, size: tuple[int, int]) -> None:
    """What a full disk does: no file of the server grows past `size` bytes."""
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, size)


async def test_on_a_full_disk_claims_are_refused_until_there_is_room_and_none_is_half_done(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--log-file", "/dev/null") as process:
        assert (await begin(process.address, "r-1", 1))[0] == 0
        written = (tmp_path / "liquidation.db-wal").stat().st_size
        limit_files_to(process, (written, resource.RLIM_INFINITY))

        refused = [(await begin(process.address, f"r-{each}", each))[0] for each in (2, 3, 4)]
        limit_files_to(process, UNLIMITED)
        granted, claim = await begin(process.address, "r-2", 2)

        # -1011, which `call` tells as an unknown outcome.
        assert refused == [None, None, None]
        assert granted == 0
        assert [each.request_id for each in await listed(process.address)] == ["r-2", "r-1"]
        assert claim.fencing_token == 2


async def test_a_full_disk_is_told_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        assert (await begin(process.address, "r-1", 1))[0] == 0
        written = (tmp_path / "liquidation.db-wal").stat().st_size
        limit_files_to(process, (written, resource.RLIM_INFINITY))
        assert (await begin(process.address, "r-2", 2))[0] is None

        told: list[dict[str, Any]] = []
        while not told or told[-1]["event"] != "claim" or told[-1]["code"] == 0:
            told.append(json.loads(await asyncio.to_thread(process.output.readline)))

    (failed,) = (line for line in told if line["event"] == "store_failed")
    assert failed["level"] == "warning"
    assert "the group was not committed" in failed["problem"]
    assert told[-1]["code"] == -1011
    assert told[-1]["decision_id"] == failed["decision_id"]


# Root may write what may only be read, so root becomes nobody; who that is may not be able to
# import anything from then on.
AS_NOBODY = """
import concurrent.futures.thread, locale, os
import liquidation.cli.serve, liquidation.store.sqlite.store
from liquidation.cli import main
if os.geteuid() == 0:
    os.setuid(65534)
main(["serve"])
"""


def test_a_database_that_may_only_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    for each in (tmp_path, *tmp_path.iterdir()):
        each.chmod(0o555)

    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LIQUIDATION_LISTEN": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "cannot open the SQLite file liquidation.db" in done.stderr
    assert "Traceback" not in done.stderr
