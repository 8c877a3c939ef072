"""The service as the server puts it together, called without a network in between."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor

from liquidation.api.door import trace_id_of
from liquidation.api.guards import Guard
from liquidation.config.live import Configuration, LiveConfig
from liquidation.config.settings import Settings
from liquidation.decisionlog import opening
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.numbers import ONE
from liquidation.rules.policy import Policy
from liquidation.server.services import put_together
from liquidation.store.sqlite.store import SqliteStore
from tests.clocks import Clock
from tests.sidecars import Refused

__all__ = ["Answered", "InProcess"]

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


class _Context:
    """What a handler sees of a call, and how it ends one."""

    def __init__(self, requests: Iterable[bytes]) -> None:
        self._requests = iter(requests)
        self.code = grpc.StatusCode.OK
        self.details = ""
        self.trailers: tuple[tuple[str, str | bytes], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def read(self) -> Any:
        return next(self._requests, grpc.aio.EOF)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def time_remaining(self) -> None:
        return None

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailers: tuple[tuple[str, str | bytes], ...]) -> None:
        self.trailers = trailers

    def refused(self) -> Refused | None:
        if self.code is grpc.StatusCode.OK:
            return None
        trailers = grpc.aio.Metadata(*self.trailers)
        return Refused(grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), trailers, self.details))


@dataclass(frozen=True)
class _Path:
    """All that a handler is found by."""

    method: str


class InProcess:
    """The three services over one SQLite file and one log, once under each of several rules.

    The file is empty again after `forget`, and its clock stands still until it is moved.
    """

    def __init__(self, directory: Path, rulebooks: Sequence[Configuration]) -> None:
        self._loop = asyncio.new_event_loop()
        self._clock = Clock()
        self._sink = _Sink()
        self._path = directory / "store.db"
        self._written = False
        self._store = SqliteStore(self._path, self._clock, committed=self._on_commit)
        log = DecisionLog(
            cast(LogSink, self._sink), _PROCESS, 0, opening.now, Masking((), ""), Sampling(ONE)
        )
        self._services = []
        self.guards = []
        for configuration in rulebooks:
            in_force = LiveConfig(Settings(), configuration, _utc, lambda *_: None)
            guard = Guard(in_force.limits, in_force.keys, _utc, time.monotonic)
            self.guards.append(guard)
            self._services.append(
                put_together(
                    in_force, guard, log, self._store, Observer(), _MAX_CALL_S, trace_id_of
                )
            )
        self.policies: list[Policy] = [each.policy for each in rulebooks]

    def call(self, rules: int, method: MethodDescriptor, requests: Sequence[bytes]) -> Answered:
        """What a method answers: a plain one to the one request, a stream to all of them."""
        context = _Context(requests)
        responses = self._loop.run_until_complete(self._called(rules, method, requests, context))
        return Answered(responses, context.refused(), self._taken())

    def pass_time(self, rules: int, seconds: int) -> list[bytes]:
        """Lets so much time go by, and the background settle what ended; the lines of that."""
        self._clock.advance(seconds)
        self._loop.run_until_complete(self._services[rules].claims.settle())
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
        self._loop.run_until_complete(self._store.aclose())
        self._loop.close()

    async def _called(
        self, rules: int, method: MethodDescriptor, requests: Sequence[bytes], context: _Context
    ) -> list[bytes]:
        path = _Path(f"/{method.containing_service.full_name}/{method.name}")
        handlers = self._services[rules].handlers
        (handler,) = (
            found for each in handlers if (found := each.service(cast(Any, path))) is not None
        )
        if handler.stream_stream is not None:
            return [each async for each in handler.stream_stream(_stream(requests), context)]
        if handler.stream_unary is not None:
            response = await handler.stream_unary(_stream(requests), context)
        else:
            response = await handler.unary_unary(requests[0], context)
        return [response] if context.code is grpc.StatusCode.OK else []

    def _on_commit(self, *_: object) -> None:
        self._written = True

    def _taken(self) -> list[bytes]:
        lines, self._sink.lines = self._sink.lines, []
        return lines


async def _stream(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def _utc() -> datetime:
    return datetime.now(UTC)
