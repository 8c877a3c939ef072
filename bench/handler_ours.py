"""The handler of CheckClaim, hot and in process: µs of thread time a call.

python bench/handler_ours.py CALLS

The handler is the one that the transport would call; the store is a SQLite file, the log a file.
"""

import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import scenarios
from liquidation.api.admission import trace_id_of
from liquidation.api.services import build_services
from liquidation.config.live import LiveConfig, read_configuration
from liquidation.config.settings import Settings
from liquidation.decisionlog.observer import Observer
from liquidation.decisionlog.opening import open_log
from liquidation.rules.model import Liquidation
from liquidation.rules.parse import parse_liquidation
from liquidation.server.upkeep import freeze_gc
from liquidation.store.locations import SqliteFile, open_store
from liquidation.transport import Metadata, Unary
from liquidation.v1.liquidation_service_pb2 import PutLiquidationRequest


class _Call:
    """What the transport would hand to a handler."""

    method = scenarios.SCENARIOS["accepted"].path
    metadata: Metadata = (("user-agent", "bench"),)
    peer = "ipv4:127.0.0.1:1"
    cancelled = False
    unsent = 0

    def time_remaining(self) -> float | None:
        return 1.0

    def reply(self, _message: bytes) -> bool:
        return True

    def refuse(self, _code: int, _message: str, _trailers: Metadata = ()) -> None: ...

    def set_trailers(self, _trailers: Metadata) -> None: ...

    def send(self, _message: bytes) -> bool:
        return True

    def send_latest(self, _message: bytes) -> None: ...

    def resume(self) -> None: ...


def measure(directory: Path, calls: int) -> float:
    """Thread time of a call, µs; the store holds the one liquidation that is asked about."""
    settings = Settings(log_file=directory / "decisions.log")
    live = LiveConfig(settings, read_configuration(settings, _utc), _utc, lambda *_: None)
    store = open_store(SqliteFile(directory / "store.db"), timeout_s=2.0, connections=1)
    scenario, call = scenarios.SCENARIOS["accepted"], _Call()
    sent = PutLiquidationRequest.FromString(scenarios.put_request()).liquidation
    snapshot = parse_liquidation(sent, "liquidation")
    assert isinstance(snapshot, Liquidation)
    stored = threading.Event()
    store.put([snapshot], lambda _: stored.set())
    stored.wait()
    with open_log(settings, None, Observer()) as book:
        services = build_services(live, book.log, store, Observer(), 10.0, trace_id_of)
        check = services.handlers[scenario.path]
        assert isinstance(check, Unary)
        request = scenario.message()
        for _ in range(calls // 10):
            check.handle(call, request)
        freeze_gc()
        begun = time.thread_time()
        for _ in range(calls):
            check.handle(call, request)
        taken = (time.thread_time() - begun) / calls * 1e6
    store.close()
    return taken


def _utc() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(measure(Path(name), int(sys.argv[1])))
