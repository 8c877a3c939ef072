"""The steps of the PostgreSQL schema as a script, for those who run their changes by hand."""

from collections.abc import Iterator
from textwrap import dedent
from typing import Final

from liquidation.store.postgres.schema import (
    LOCK_KEY,
    PATIENCE_S,
    STEPS,
    VERSIONS,
    SchemaState,
    Step,
)

__all__ = ["script"]

_HEAD: Final = """
-- The schema of the liquidation service: from version {before} to {after}, all of it or nothing.
-- To be run by the owner of the schema that the service works in, first in the search_path:
--   psql --set ON_ERROR_STOP=1 --dbname URL --file FILE
"""


def script(state: SchemaState, steps: tuple[Step, ...] = STEPS) -> str:
    """What `migrate` would do on a database in `state`, as SQL; "" where nothing is missing.

    Where others have done a step of it meanwhile, it fails and changes nothing.
    """
    if state.version >= len(steps):
        return ""
    head = _HEAD.format(before=state.version, after=len(steps)).lstrip()
    return head + "\n".join(("BEGIN;", *_statements(state, steps), "COMMIT;", ""))


def _statements(state: SchemaState, steps: tuple[Step, ...]) -> Iterator[str]:
    yield f"SET LOCAL lock_timeout = '{PATIENCE_S}s';"
    # Nobody else migrates meanwhile.
    yield f"SELECT pg_advisory_xact_lock({LOCK_KEY});"
    yield _written(VERSIONS)
    for version, step in enumerate(steps[state.version :], start=state.version + 1):
        yield f"\n-- Version {version}"
        yield from map(_written, step.statements)
        yield (
            "INSERT INTO liquidation_schema (version, oldest_service)"
            f" VALUES ({version}, {step.oldest_service});"
        )


def _written(statement: str) -> str:
    return f"{dedent(statement).strip()};"
