"""The schema that every line of the decision log keeps to."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["SCHEMA", "problems_of", "problems_of_log"]

_PATH = Path(__file__).parents[2] / "docs" / "reference" / "decision-log-line.schema.json"
SCHEMA: dict[str, Any] = json.loads(_PATH.read_text(encoding="utf-8"))
_VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


# Lines of one log that are all held against the schema; of those behind them, one of each shape.
_ALL = 50


def problems_of_log(path: Path) -> list[str]:
    """What in a log is not as the schema has it; lines of one shape differ in values alone."""
    seen: set[tuple[object, ...]] = set()
    chosen = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            shape = _shape(line)
            if number < _ALL or shape not in seen:
                chosen.append(line)
            seen.add(shape)
    return problems_of(chosen)


def _shape(line: bytes) -> tuple[object, ...]:
    if not line.endswith(b"\n"):
        return ()
    fields = json.loads(line)
    request = fields.get("request") or {}
    told = tuple(fields.get(key) for key in ("event", "rpc", "code", "rule", "change", "state"))
    return (*told, *fields, *request, *request.get("state", {}))


def problems_of(lines: Iterable[bytes]) -> list[str]:
    """What in these lines is not as the schema has it; a torn last line is no line."""
    return [
        f"{error.json_path}: {error.message:.200} in {line!r:.400}"
        for line in lines
        if line.endswith(b"\n")
        for error in _VALIDATOR.iter_errors(json.loads(line))
    ]
