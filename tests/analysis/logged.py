"""Logs of real servers, to be read."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.json_format import Parse

from liquidation.analysis.reader import Reader
from liquidation.analysis.redecide import RulesInForce
from liquidation.analysis.replay import Replay
from liquidation.rules.policy import Policy
from liquidation.v1.rules_service_pb2 import CheckClaimRequest
from tests.sidecars import Refused, running

__all__ = ["REAL_REQUESTS", "log_of_real_requests", "replayed", "rewritten"]

REAL_REQUESTS = Path(__file__).parents[1] / "data" / "real_requests.jsonl"


async def log_of_real_requests(directory: Path, policy: Policy | None = None) -> Path:
    """The log of a server that was sent every real request."""
    requests = REAL_REQUESTS.read_text().splitlines()
    async with running(directory, policy) as server:
        for request in requests:
            with suppress(Refused):
                await server.check(Parse(request, CheckClaimRequest()))
    return server.log_file


def rewritten(log: Path, place: int, **changes: Any) -> Path:
    """A copy of a log in which one of its decisions, counted from 0, says something else."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decisions = [line for line in lines if line["event"] in {"decision", "claim"}]
    decisions[place].update(changes)
    copy = log.with_name("rewritten.log")
    copy.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copy


def replayed(
    *logs: Path, candidate: Policy | None = None, own: Policy | None = None, examples: int = 10
) -> Replay:
    """What comes of deciding logs again."""
    replay = Replay(RulesInForce(own), candidate, examples)
    for entry in Reader(logs):
        replay.rules.expect(entry)
    for entry in Reader(logs):
        replay.add(entry)
    return replay
