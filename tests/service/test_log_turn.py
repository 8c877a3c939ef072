"""The file by which workers take turns: every process of the user finds it."""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from liquidation.decisionlog.opening import LogbookError, log_turn
from liquidation.decisionlog.sink import FileLock
from liquidation.store.locations import PostgresDatabase, SqliteFile

DATABASE = PostgresDatabase("postgresql://db.invalid/liquidation")

# Another process, which says whether it is its turn.
TRY = """
import fcntl, os, sys
from pathlib import Path
from liquidation.decisionlog.sink import FileLock
turns = FileLock(Path(sys.argv[1]))
try:
    fcntl.flock(turns._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("another's")
else:
    print("its own")
"""
# A process whose descriptors are not shown to others of its user.
UNSEEN = """
import ctypes, os, tempfile
from liquidation.decisionlog.opening import log_turn
from liquidation.store.locations import PostgresDatabase
os.geteuid() or os.setuid(65534)
PR_SET_DUMPABLE = 4
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
with log_turn(PostgresDatabase("postgresql://db.invalid/liquidation")) as path:
    print(str(path.parent) == tempfile.gettempdir())
"""


def python(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


def assert_is_shared(path: Path) -> None:
    """Processes take turns by the file, also such as are started later than another ended."""
    with closing(FileLock(path)) as turns:
        for _ in range(2):
            with turns.taken():
                assert python(TRY, str(path)) == "another's"
            assert python(TRY, str(path)) == "its own"


def test_beside_a_sqlite_file_it_is_one_that_stays(tmp_path: Path) -> None:
    with log_turn(SqliteFile(tmp_path / "a.db")) as path:
        assert path == tmp_path / "a.db-log"
        assert_is_shared(path)
    assert path.exists()


def test_with_a_database_nothing_is_written_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    with log_turn(DATABASE) as path:
        assert path.parent == Path(f"/proc/{os.getpid()}/fd")
        assert_is_shared(path)
    assert not path.exists()


def test_without_files_in_memory_it_is_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with log_turn(DATABASE) as path:
        assert path.parent == tmp_path
        assert_is_shared(path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_others_may_not_look_into_makes_a_temporary_one() -> None:
    assert python(UNSEEN) == "True"


def test_where_no_file_can_be_made_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    monkeypatch.delattr(os, "memfd_create", raising=False)

    with (
        pytest.raises(LogbookError, match=r"^workers cannot take turns: No such file"),
        log_turn(DATABASE),
    ):
        pass
