"""A fault behind four branches, to show that it is found: no input that is begun with is near."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.attacks.fuzz.seam import observed
from tests.attacks.fuzz.target import Look, Target


@contextmanager
def _opened(_: Path) -> Iterator[Look]:
    read = observed(_read)

    def look(data: bytes) -> None:
        assert read(data) == data

    yield look


def _read(data: bytes) -> bytes:
    """Loses the last byte of what begins with a word, and nothing of all else."""
    if data[:1] == b"r":
        if data[1:2] == b"u":
            if data[2:3] == b"l":
                if data[3:4] == b"e":
                    return data[:-1]
                return data
            return data
        return data
    return data


TARGET: Final = Target(_opened, lambda: (b"0",), longest=16)
