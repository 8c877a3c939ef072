"""The schema that every line of the decision log keeps to."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["SCHEMA", "problems_of"]

_PATH = Path(__file__).parents[2] / "docs" / "decision-log-line.schema.json"
SCHEMA: dict[str, Any] = json.loads(_PATH.read_text(encoding="utf-8"))
_VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems_of(lines: Iterable[bytes]) -> list[str]:
    """What in these lines is not as the schema has it; a torn last line is no line."""
    return [
        f"{error.json_path}: {error.message:.200} in {line!r:.400}"
        for line in lines
        if line.endswith(b"\n")
        for error in _VALIDATOR.iter_errors(json.loads(line))
    ]
