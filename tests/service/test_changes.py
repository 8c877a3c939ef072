"""What is told of files that are read again, also before the server tells that it serves."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from liquidation.config.live import LiveConfig, read_configuration
from liquidation.config.settings import Settings
from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog
from liquidation.metrics import Instruments
from liquidation.server.upkeep import ReloadReporter


def now() -> datetime:
    return datetime.now(UTC)


def test_a_file_that_went_bad_before_the_server_served_is_told_once_when_it_does(
    tmp_path: Path,
) -> None:
    rules, log_file = tmp_path / "rules.toml", tmp_path / "log"
    rules.write_text('version = "1"\n')
    sink = LogSink(os.open(log_file, os.O_WRONLY | os.O_CREAT), lambda _: b"")
    log = DecisionLog(sink, "p", 0, lambda: "now", lambda: 0, Masking((), ""), Sampling())
    reporter = ReloadReporter(log, Instruments())
    settings = Settings(rules=rules)
    live = LiveConfig(settings, read_configuration(settings, now), now, reporter)
    rules.write_text("no rules")

    live.reload()
    reporter.begin(live)
    live.reload()

    assert sink.close(30) == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["rules", "reload_failed"]
    assert (lines[0]["rules"]["version"], lines[1]["file"]) == ("1", "rules")
