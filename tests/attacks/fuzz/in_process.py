"""The service as the server puts it together, called without a network in between."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, cast

from google.protobuf.descriptor import MethodDescriptor

from liquidation.api.admission import trace_id_of
from liquidation.api.services import build_services
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog import opening
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.numbers import ONE
from liquidation.rules.policy import ClaimRules, Policy
from liquidation.server.lease_reaper import LeaseReaper
from liquidation.store.sqlite.store import SqliteStore
from tests.clocks import Clock
from tests.in_process import answer, path_of
from tests.sidecars import Refused

_MAX_CALL_S: Final = 30.0
_PROCESS: Final = "f0220000f0220000"
# Most referred to first, so that no row is left without the one it refers to.
_TABLES: Final = ("claim_event", "claim", "settled", "liquidation", "sqlite_sequence")


class Answered(NamedTuple):
    """What came of a call: its messages, how it was refused if it was, and the lines it left."""

    responses: list[bytes]
    refused: Refused | None
    lines: list[bytes]


class _Sink:
    """Takes lines as the log's sink does, and keeps them until they are looked at."""

    def __init__(self) -> None:
        self.lost = 0
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


class InProcess:
    """The three services over one SQLite file and one log, once under each of several rules.

    The file is empty again after `forget`, and its clock stands still until it is moved.
    """

    def __init__(self, directory: Path, configurations: Sequence[Configuration]) -> None:
        self._clock = Clock()
        self._sink = _Sink()
        self._path = directory / "store.db"
        self._written = False
        self._store = SqliteStore(self._path, self._clock, committed=self._on_commit)
        log = DecisionLog(
            cast(LogSink, self._sink),
            _PROCESS,
            0,
            opening.now,
            time.monotonic_ns,
            Masking((), ""),
            Sampling(ONE),
        )
        self._services = []
        self._reapers = []
        for configuration in configurations:
            live = LiveConfig(Settings(), configuration, _utc, lambda *_: None)
            services = build_services(live, log, self._store, Observer(), _MAX_CALL_S, trace_id_of)
            self._services.append(services)
            self._reapers.append(
                LeaseReaper(
                    self._store,
                    _MAX_CALL_S,
                    services.log_expired,
                    lambda: ClaimRules().retention_s,
                    log,
                )
            )
        self.policies: list[Policy] = [each.policy for each in configurations]

    def call(self, rules: int, method: MethodDescriptor, requests: Sequence[bytes]) -> Answered:
        """What a method answers: a plain one to the one request, a stream to all of them."""
        path = path_of(method)
        ended = answer(self._services[rules].handlers[path], path, requests)
        return Answered(ended.responses, ended.refused, self._taken())

    def in_progress(self, rules: int) -> int:
        """How many calls are counted as in progress."""
        return self._services[rules].admission.limiter.in_progress

    def pass_time(self, rules: int, seconds: int) -> list[bytes]:
        """Lets so much time go by, and leases that ran out be written down; the lines of that."""
        self._clock.advance(seconds)
        self._reapers[rules].reap()
        return self._taken()

    def forget(self) -> None:
        """Nothing is stored any more."""
        if not self._written:
            return
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")
        self._written = False

    def close(self) -> None:
        self._store.close()

    def _on_commit(self, *_: object) -> None:
        self._written = True

    def _taken(self) -> list[bytes]:
        lines, self._sink.lines = self._sink.lines, []
        return lines


def _utc() -> datetime:
    return datetime.now(UTC)
