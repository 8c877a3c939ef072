"""Reads a log while it is written, line by whole line."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Following:
    """The lines of a log file, as far as they are read."""

    def __init__(self, path: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The lines that have come since."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        new = [json.loads(line) for line in whole.splitlines()]
        self.lines += new
        return new

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Returns once the lines, all of them, are enough."""
        self.read()
        while not enough(self.lines):
            await asyncio.sleep(0.002)
            self.read()
