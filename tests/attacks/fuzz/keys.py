"""A file of API keys of any content: it is taken, or refused without a word of what is secret."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from liquidation.auth.keys import (
    ENTROPY_BYTES,
    Identity,
    KeyRing,
    Permission,
    keys_text,
    new_key,
    read_keys,
)
from liquidation.config.live import ConfigurationError, read_configuration
from liquidation.config.settings import Settings
from liquidation.rules.model import Refusal
from tests.attacks.fuzz.complaints import said_of
from tests.attacks.fuzz.target import Look, Target

_NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
_RING, _KEY = new_key(
    KeyRing(), "risk-backend", [Permission.CHECK], None, _NOW, bytes(range(ENTROPY_BYTES))
)
# A secret has 43 of these characters and a hash 64; the longest name of a key has 40.
_SECRET: Final = re.compile(r"[A-Za-z0-9_.+/=-]{41,}")


@contextmanager
def _opened(directory: Path) -> Iterator[Look]:
    path = directory / "keys.json"
    settings = Settings(api_keys=path)

    def look(data: bytes) -> None:
        path.write_bytes(data)
        try:
            ring = read_configuration(settings, lambda: _NOW).keys
        except ConfigurationError as error:
            _is_harmless(said_of(path, error))
            return
        assert ring is not None
        assert read_keys(keys_text(ring)) == ring
        assert not _SECRET.search(repr(ring)), repr(ring)
        for permission in Permission:
            who = ring.identify(_KEY, permission, _NOW)
            assert isinstance(who, Refusal) or who in _genuine(ring, permission)

    yield look


def _is_harmless(said: str) -> None:
    assert said.isprintable(), repr(said)
    assert not _SECRET.search(said), said


def _genuine(ring: KeyRing, permission: Permission) -> list[Identity]:
    """Those whose key is the one that is presented, is good and allows as much."""
    (own,) = _RING.entries
    return [
        Identity(each.name, each.key_id, each.permissions)
        for each in ring.entries
        if (each.key_id, each.sha256) == (own.key_id, own.sha256)
        and each.revoked is None
        and (each.expires is None or each.expires > _NOW)
        and each.permissions & {permission, Permission.ADMIN}
    ]


def _seeds() -> Iterable[bytes]:
    (entry,) = json.loads(keys_text(_RING))["keys"]
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"permissions": [each.value for each in Permission]},
        {"permissions": []},
        {"permissions": [["check"]]},
        {"expires": "2027-01-01T00:00:00.5+01:00"},
        {"expires": "2026-01-01T00:00:00Z"},
        {"revoked": "9999-12-31T23:59:59-23:59"},
        {"created": "0001-01-01T00:00:00+23:59"},
        {"sha256": _KEY},
        {"id": _KEY},
        {"name": _KEY},
        {_KEY: 1},
    )
    for change in changes:
        yield json.dumps({"keys": [entry | change]}).encode()
    yield keys_text(_RING).encode()
    yield json.dumps({"keys": [entry, entry | {"id": "0" * 12, "name": "other"}]}).encode()
    yield json.dumps({"keys": [entry, entry]}).encode()
    yield b'{"keys": [], "keys": []}'
    yield f'{{"{_KEY}": 1, "{_KEY}": 2}}'.encode()
    yield b'{"keys": ' + b"9" * 4301 + b"}"
    yield b"[" * 3000
    yield b"\xff"
    yield _KEY.encode()


TARGET: Final = Target(
    _opened,
    _seeds,
    longest=8192,
    words=(
        *(f'"{name}"'.encode() for name in json.loads(keys_text(_RING))["keys"][0]),
        *(f'"{each.value}"'.encode() for each in Permission),
        *(
            b'"keys"',
            b"null",
            b"2027-01-01T00:00:00Z",
            b"+23:59",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
        ),
        _KEY.encode(),
    ),
)
