"""A migration that was published is never edited: databases were made by it."""

from hashlib import sha256
from pathlib import Path

import liquidation.store

PUBLISHED = {
    "postgres/migrations/1.sql": "d7161a694908221a80c15199af966452f7d19da0d31000e52ec333546b10ce2b",
    "sqlite/migrations/1.sql": "fcbff8c5917f1d6c4a05916092d285f7c941902a73231378e0e8573146062d24",
    "sqlite/migrations/2.sql": "4ee4135f4e8892e10cf796e9c99f54adb2668458065e881bbb34e1f03fc48523",
}


def test_every_migration_is_byte_for_byte_as_it_was_published() -> None:
    (room,) = map(Path, liquidation.store.__path__)
    found = {
        path.relative_to(room).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in room.glob("*/migrations/*")
    }

    assert found == PUBLISHED
