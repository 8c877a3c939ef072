"""The statements of each engine, which are in a file of their own."""

import re
from pathlib import Path

import pytest

import liquidation.store
from liquidation.store.records import queries_of


@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_every_statement_in_the_file_is_used_and_every_statement_used_is_in_the_file(
    engine: str,
) -> None:
    room = Path(liquidation.store.__path__[0])
    modules = [*room.joinpath(engine).glob("*.py")]
    if engine == "postgres":
        modules.append(room / "copy.py")
    code = "".join(path.read_text() for path in modules)
    used = {
        name
        for looked_up in re.findall(r"SQL\[([^\]]+)\]", code)
        for name in re.findall(r"[\"'](\w+)[\"']", looked_up)
    }
    _, _, text = room.joinpath(engine, "queries.sql").read_text().partition("-- name: ")
    in_others = set(re.findall(r"\{(\w+)\}", text))

    assert set(queries_of(f"liquidation.store.{engine}")) - {"lease_ran_out"} == (
        used | in_others - {"lease_ran_out"}
    )
