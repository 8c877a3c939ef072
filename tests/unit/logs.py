"""A decision log whose lines can be looked at."""

import json
import os
from pathlib import Path
from typing import Any

from liquidation.decisionlog.redaction import Masking, Sampling
from liquidation.decisionlog.sink import LogSink
from liquidation.decisionlog.writer import DecisionLog

__all__ = ["Log"]


class Log:
    """A log in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sink = LogSink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), lambda _: b"")
        self.log = DecisionLog(
            self._sink, "p", 0, lambda: "now", lambda: 0, Masking((), ""), Sampling()
        )

    def lines(self) -> list[dict[str, Any]]:
        """All lines, once they are written; nothing is logged after."""
        assert self._sink.close(60) == 0
        return [json.loads(line) for line in self._path.read_text().splitlines()]
