"""The service without gRPC: its use cases over a real store and a real log, counted."""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from liquidation.api import wire
from liquidation.api.claiming import BeginText, Claiming, Granted
from liquidation.api.claims import Claims
from liquidation.api.desk import Answer, Desk
from liquidation.api.register import Register
from liquidation.decisionlog.entry import Call
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics.prometheus import Metrics
from liquidation.rules.model import Claim
from liquidation.rules.policy import ActivePolicy, Policy
from liquidation.store.base import Store
from liquidation.store.sqlite.store import SqliteStore
from liquidation.v1 import claim_service_pb2
from tests import samples
from tests.clocks import Clock
from tests.metrics.scrapes import Scrape, rendered

__all__ = ["AtWork", "at_work"]

PROCESS = "0123456789abcdef"


def call(rpc: str) -> Call:
    return Call(rpc, "ipv4:127.0.0.1:1", "", time.monotonic_ns(), caller="risk-backend")


@dataclass(frozen=True)
class AtWork:
    """The use cases, and what they leave behind."""

    desk: Desk
    claiming: Claiming
    claims: Claims
    register: Register
    store: Store
    log: DecisionLog
    metrics: Metrics
    clock: Clock
    log_file: Path
    sink: LogSink

    async def check(self, request: Message, rpc: str = "CheckClaim") -> Answer:
        """The answer to a CheckClaimRequest."""
        assert isinstance(request, Message)
        return await self.desk.check(wire.sent(request), call(rpc))  # type: ignore[arg-type]

    async def begin(self, request_id: str, **request: Any) -> Claim | None:
        """The claim that a BeginClaim on `samples.low()` is granted, or None."""
        body = samples.low_request(**request) | {"request_id": request_id, "lease_ttl": "30s"}
        message = ParseDict(body, claim_service_pb2.BeginClaimRequest())
        begin = BeginText(request_id, wire.begin_sent(message), (30, 0))
        outcome = await self.claiming.begin(begin, call("BeginClaim"), lambda _: None)
        return outcome.claim if isinstance(outcome, Granted) else None

    def scrape(self) -> Scrape:
        """What is counted by now."""
        return rendered(self.metrics)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log's lines, all or of one event, once all of them are written."""
        self.sink.close(30)
        lines = map(json.loads, self.log_file.read_text().splitlines())
        return [line for line in lines if event in ("", line["event"])]


@asynccontextmanager
async def at_work(
    directory: Path,
    policy: Policy | None = None,
    candidate: Policy | None = None,
    sampling: Sampling | None = None,
) -> AsyncIterator[AtWork]:
    """The use cases under some rules, with their store and log in `directory`."""
    rulebook = ActivePolicy(policy or Policy(), candidate)
    numbers = count(1)
    log_file = directory / "decisions.log"
    clock, metrics = Clock(), Metrics()
    sink = LogSink(
        os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        lambda lost: json.dumps({"event": "log_lines_lost", "lost": lost}).encode() + b"\n",
    )
    masking, now = Masking((), ""), "2026-11-22T18:11:47.936616Z"
    log = DecisionLog(
        sink, PROCESS, 0, lambda: now, masking, sampling or Sampling(), observer=metrics
    )

    def new_id() -> str:
        return f"{PROCESS}-{next(numbers)}"

    def new_claim_id() -> str:
        return f"{next(numbers):032x}"

    def rules() -> ActivePolicy:
        return rulebook

    store = SqliteStore(directory / "store.db", clock, committed=metrics.committed)
    ticks = time.monotonic_ns
    register = Register(store, log, new_id, ticks)
    claims = Claims(store, rules, log, new_id, ticks)
    claiming = Claiming(
        store, rules, log, register, claims.tell_expired, new_id, new_claim_id, ticks
    )
    desk = Desk(store, rules, log, new_id, ticks)
    try:
        yield AtWork(desk, claiming, claims, register, store, log, metrics, clock, log_file, sink)
    finally:
        await store.aclose()
        sink.close(30)
