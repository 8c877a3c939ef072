"""The service without gRPC: its handlers over a real store and a real log, counted."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from liquidation.api.admission import trace_id_of
from liquidation.api.services import Services, build_services
from liquidation.auth.keys import ENTROPY_BYTES, KeyRing, Permission, new_key
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics.prometheus import Metrics
from liquidation.rules.policy import Policy
from liquidation.server.lease_reaper import LeaseReaper
from liquidation.store.base import Store
from liquidation.store.sqlite.store import SqliteStore
from liquidation.v1 import claim_service_pb2, rules_service_pb2
from tests import samples
from tests.clocks import Clock
from tests.in_process import METHODS, Answered, Begun, answer, path_of, response_of
from tests.service.metrics.scrapes import Scrape, rendered

PROCESS: Final = "0123456789abcdef"
_NOW: Final = datetime(2026, 11, 22, 18, tzinfo=UTC)
_RING, _KEY = new_key(
    KeyRing(), "risk-backend", [Permission.ADMIN], None, _NOW, bytes(ENTROPY_BYTES)
)
_METADATA: Final = (("authorization", f"Bearer {_KEY}"),)
_MAX_CALL_S: Final = 60.0


@dataclass(frozen=True)
class AtWork:
    """The handlers, and what they leave behind."""

    services: Services
    reaper: LeaseReaper
    store: Store
    log: DecisionLog
    metrics: Metrics
    clock: Clock
    log_file: Path
    sink: LogSink

    def call(self, name: str, request: Message) -> Answered:
        """How a call of a unary method ends."""
        return self.begun(name, request).ended()

    def begun(self, name: str, request: Message) -> Begun:
        """A call of a unary method that others may come beside."""
        path = path_of(METHODS[name])
        data = request.SerializeToString()
        return Begun(self.services.handlers[path], path, data, _METADATA)

    def check(self, request: rules_service_pb2.CheckClaimRequest) -> Answered:
        """How a CheckClaim ends."""
        return self.call("CheckClaim", request)

    def stream(self, *requests: rules_service_pb2.CheckClaimRequest) -> Answered:
        """How a StreamCheckClaims of these requests ends."""
        items = [rules_service_pb2.StreamCheckClaimsRequest(request=each) for each in requests]
        path = path_of(METHODS["StreamCheckClaims"])
        sent = [each.SerializeToString() for each in items]
        return answer(self.services.handlers[path], path, sent, _METADATA)

    def begin(self, request_id: str, **request: Any) -> Any:
        """The claim that a BeginClaim on `samples.low()` is granted, or None."""
        body = samples.low_request(**request) | {"request_id": request_id, "lease_ttl": "30s"}
        message = ParseDict(body, claim_service_pb2.BeginClaimRequest())
        ended = self.call("BeginClaim", message)
        if ended.refused is not None:
            return None
        response: Any = response_of(METHODS["BeginClaim"], ended.responses[0])
        return response.claim

    def scrape(self) -> Scrape:
        """What is counted by now."""
        return rendered(self.metrics)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log's lines, all or of one event, once all of them are written."""
        self.sink.close(30)
        lines = map(json.loads, self.log_file.read_text().splitlines())
        return [line for line in lines if event in ("", line["event"])]


@contextmanager
def at_work(
    directory: Path,
    policy: Policy | None = None,
    candidate: Policy | None = None,
    sampling: Sampling | None = None,
) -> Iterator[AtWork]:
    """The handlers under some rules, with their store and log in `directory`."""
    log_file = directory / "decisions.log"
    clock, metrics = Clock(), Metrics()
    sink = LogSink(
        os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        lambda lost: json.dumps({"event": "log_lines_lost", "lost": lost}).encode() + b"\n",
    )
    masking, now = Masking((), ""), "2026-11-22T18:11:47.936616Z"
    ticks = time.monotonic_ns
    log = DecisionLog(
        sink, PROCESS, 0, lambda: now, ticks, masking, sampling or Sampling(), observer=metrics
    )
    configuration = Configuration(policy or Policy(), candidate, _RING)
    live = LiveConfig(Settings(), configuration, lambda: _NOW, lambda *_: None)
    store = SqliteStore(directory / "store.db", clock, committed=metrics.committed)
    services = build_services(live, log, store, metrics, _MAX_CALL_S, trace_id_of)
    reaper = LeaseReaper(store, 30.0, services.log_expired, lambda: 3600, log)
    try:
        yield AtWork(services, reaper, store, log, metrics, clock, log_file, sink)
    finally:
        store.close()
        sink.close(30)
