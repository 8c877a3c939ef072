"""The file of API keys: JSON, one entry a key, with its hash and without its secret.

What is wrong with a file is told without any value that stands in it, but for the names of keys: a
secret may have been put in the wrong place.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from liquidation.auth.keys import (
    KEY_NAME,
    KEY_NAME_ALLOWED,
    KeyEntry,
    KeyRing,
    KeysError,
    Permission,
)

_FIELDS: Final = ("id", "name", "sha256", "permissions", "created", "expires", "revoked")
_ID: Final = re.compile(r"[0-9a-f]{12}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA256_ALLOWED: Final = "must be 64 lower-case hexadecimal digits"
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
# Characters of a field's name that are told; a key or a secret is longer.
_LONGEST_SHOWN: Final = 20


def keys_text(ring: KeyRing) -> str:
    """The text of the file that holds these keys."""
    table = {"keys": [_record(entry) for entry in ring.entries]}
    return json.dumps(table, indent=2) + "\n"


def read_keys(text: str) -> KeyRing:
    """The keys in the text of a file. Every field must be there; two of the times may be null.

    Raises:
        KeysError: the text is no JSON, has a field that is not known, lacks one, has one twice,
            or a value is not allowed; or two keys have one id or one name.
    """
    keys = _table(_json(text), "", ("keys",))["keys"]
    if not isinstance(keys, list):
        raise KeysError("keys: must be a list")
    entries = [_entry(each, f"keys[{place}]") for place, each in enumerate(keys)]
    ids: set[str] = set()
    names: set[str] = set()
    for place, entry in enumerate(entries):
        for field, value, taken in (("id", entry.key_id, ids), ("name", entry.name, names)):
            if value in taken:
                raise KeysError(f"keys[{place}] ({entry.name}): {field}: another key has it")
            taken.add(value)
    return KeyRing(entries)


class _FieldTwiceError(ValueError):
    """JSON that has a field twice in one object, of which a reader would see only the last."""


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_fields_once)
    except json.JSONDecodeError as error:
        raise KeysError(f"is not JSON: line {error.lineno}: {error.msg}") from None
    except _FieldTwiceError as error:
        raise KeysError(str(error)) from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets in brackets in brackets.
        raise KeysError("is not a file of keys") from None


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _FieldTwiceError(f"{_shown(name)}: is there twice in one object")
        fields[name] = value
    return fields


def _table(value: object, path: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KeysError(f"{path or 'the file'}: must be an object")
    prefix = f"{path}: " if path else ""
    for name in value:
        if name not in known:
            raise KeysError(
                f"{prefix}{_shown(name)}: is not a known field; known here: {', '.join(known)}"
            )
    for name in known:
        if name not in value:
            raise KeysError(f"{prefix}{name}: is missing")
    return value


def _shown(name: str) -> str:
    """A field's name, unless it could be a secret that was put in the wrong place."""
    harmless = len(name) <= _LONGEST_SHOWN and name.isascii() and name.isprintable()
    return name if harmless else "a field"


def _entry(value: object, path: str) -> KeyEntry:
    table = _table(value, path, _FIELDS)
    name = _matching(KEY_NAME, table["name"], f"{path}: name", KEY_NAME_ALLOWED)
    path = f"{path} ({name})"
    return KeyEntry(
        _matching(_ID, table["id"], f"{path}: id", "must be 12 lower-case hexadecimal digits"),
        name,
        bytes.fromhex(_matching(_SHA256, table["sha256"], f"{path}: sha256", _SHA256_ALLOWED)),
        _permissions(table["permissions"], f"{path}: permissions"),
        _time(table["created"], f"{path}: created"),
        _time_or_none(table["expires"], f"{path}: expires"),
        _time_or_none(table["revoked"], f"{path}: revoked"),
    )


def _matching(form: re.Pattern[str], value: object, path: str, allowed: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise KeysError(f"{path}: {allowed}")
    return value


def _permissions(value: object, path: str) -> frozenset[Permission]:
    known = [permission.value for permission in Permission]
    if not isinstance(value, list) or not value or any(each not in known for each in value):
        raise KeysError(f"{path}: must be a list of one or more of {', '.join(known)}")
    return frozenset(map(Permission, value))


def _time(value: object, path: str) -> datetime:
    allowed = "must be a time of RFC 3339, such as 2027-01-01T00:00:00Z"
    text = _matching(_RFC_3339, value, path, allowed)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise KeysError(f"{path}: {allowed}") from None


def _time_or_none(value: object, path: str) -> datetime | None:
    return None if value is None else _time(value, path)


def _record(entry: KeyEntry) -> dict[str, Any]:
    return {
        "id": entry.key_id,
        "name": entry.name,
        "sha256": entry.sha256.hex(),
        "permissions": [each.value for each in Permission if each in entry.permissions],
        "created": _text(entry.created),
        "expires": None if entry.expires is None else _text(entry.expires),
        "revoked": None if entry.revoked is None else _text(entry.revoked),
    }


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
