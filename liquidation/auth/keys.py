"""API keys: whose a presented key is, how one is made and revoked, and the file of them.

A key as its owner holds it is `lq_<id>_<secret>`: 12 hexadecimal digits by which it is found, and
256 random bits in base64url. What is kept is the SHA-256 of the whole key, and no secret. A slow
hash, as passwords need one, would gain nothing: 256 random bits are not found by trying, however
fast the hash is, and every call would pay for it.

The file is JSON: one entry a key, with its hash and without its secret. No message, repr or
exception holds a key or a hash, nor any value of a file but the names of keys: a secret may have
been put in the wrong place.
"""

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from liquidation.rules import errors
from liquidation.rules.model import Refusal

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
# Random bytes that a new key takes: those of its id and those of its secret.
ENTROPY_BYTES: Final = _ID_BYTES + _SECRET_BYTES

_KEY: Final = re.compile(r"lq_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# Shorter than a key or a secret, so that neither passes for a name.
KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
KEY_NAME_ALLOWED: Final = (
    "must be 1 to 40 ASCII letters, digits, dots, underscores and hyphens; "
    "first a letter or a digit"
)
# What a key of an id that nobody has is compared with, so that it takes as long as any other.
_NOBODYS: Final = bytes(32)

_FIELDS: Final = ("id", "name", "sha256", "permissions", "created", "expires", "revoked")
_ID: Final = re.compile(r"[0-9a-f]{12}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA256_ALLOWED: Final = "must be 64 lower-case hexadecimal digits"
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
# Characters of a field's name that are told; a key or a secret is longer.
_LONGEST_SHOWN: Final = 20

MALFORMED_KEY: Final = Refusal(errors.MALFORMED_KEY)
_REFUSED: Final = Refusal(errors.KEY_REFUSED)
_LACKS_PERMISSION: Final = Refusal(errors.KEY_LACKS_PERMISSION)


class KeysError(ValueError):
    """Keys that cannot be taken; the text names the entry and says what is wrong."""


class Permission(Enum):
    """What a key allows; values as in the file.

    Each service needs its own: LiquidationRulesService `check`, LiquidationService `liquidations`,
    ClaimService `claims`. CancelClaim with `force` needs `claims:force` beside `claims`. `admin`
    allows everything.
    """

    CHECK = "check"
    LIQUIDATIONS = "liquidations"
    CLAIMS = "claims"
    CLAIMS_FORCE = "claims:force"
    ADMIN = "admin"


class KeyState(Enum):
    """Whether a key is taken. One that was revoked and has expired is told as revoked."""

    GOOD = "good"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: the name and the id of their key, both "" where keys are off."""

    name: str
    key_id: str
    permissions: frozenset[Permission]

    def lacking(self, permission: Permission) -> Refusal | None:
        """-1002 with PERMISSION_DENIED where the key does not allow it."""
        allowed = permission in self.permissions or Permission.ADMIN in self.permissions
        return None if allowed else _LACKS_PERMISSION


# Whoever calls while keys are off.
ANYONE: Final = Identity("", "", frozenset({Permission.ADMIN}))


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as the file has it. `sha256` is that of the whole key; times are in UTC.

    `created` is for people; nothing is decided on it.
    """

    key_id: str
    name: str
    sha256: bytes = field(repr=False)
    permissions: frozenset[Permission]
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def state(self, now: datetime) -> KeyState:
        """Whether the key is taken at `now`.

        It expires at `expires`, from that moment on. Once `revoked` is set it is revoked, whatever
        the time there: a clock that is behind must not bring a key back.
        """
        if self.revoked is not None:
            return KeyState.REVOKED
        if self.expires is not None and now >= self.expires:
            return KeyState.EXPIRED
        return KeyState.GOOD


class KeyRing:
    """The keys of a file, in its order; no two have one id or one name."""

    __slots__ = ("_by_id", "entries")

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        self.entries = tuple(entries)
        self._by_id = {entry.key_id: entry for entry in self.entries}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRing) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(entry.name for entry in self.entries)})"

    def identify(
        self, presented: str | None, permission: Permission, now: datetime
    ) -> Identity | Refusal:
        """Whose key is presented, or why it is refused; None is for no key at all.

        Refused are with -1001 what is no key by its form; with -1002 UNAUTHENTICATED no key, and
        one that is unknown, expired or revoked, which are told in the same words; with -1002
        PERMISSION_DENIED a good one that lacks `permission`. `now` is an aware time.
        """
        if presented is None:
            return _REFUSED
        form = _KEY.fullmatch(presented)
        if form is None:
            return MALFORMED_KEY
        entry = self._by_id.get(form[1])
        genuine = hmac.compare_digest(
            _digest(presented), _NOBODYS if entry is None else entry.sha256
        )
        if entry is None or not genuine or entry.state(now) is not KeyState.GOOD:
            return _REFUSED
        identity = Identity(entry.name, entry.key_id, entry.permissions)
        return identity.lacking(permission) or identity


def new_key(
    ring: KeyRing,
    name: str,
    permissions: Iterable[Permission],
    expires: datetime | None,
    now: datetime,
    entropy: bytes,
) -> tuple[KeyRing, str]:
    """The ring with a new key at its end, and the key, which is nowhere else from then on.

    `entropy` is `ENTROPY_BYTES` of a source fit for secrets. Times are aware.

    Raises:
        KeysError: the name is taken or not allowed, no permission is given, or `expires` is past.
        ValueError: `entropy` has another length.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a key is made of {ENTROPY_BYTES} random bytes")
    if not KEY_NAME.fullmatch(name):
        raise KeysError(f"name: {KEY_NAME_ALLOWED}")
    if any(entry.name == name for entry in ring.entries):
        raise KeysError(f"name: {name} is taken")
    key_id = entropy[:_ID_BYTES].hex()
    if any(entry.key_id == key_id for entry in ring.entries):
        raise KeysError("id: the one that came up is taken; ask again for another")
    allowed = frozenset(permissions)
    if not allowed:
        raise KeysError("permissions: at least one is needed")
    if expires is not None and expires <= now:
        raise KeysError("expires: must lie ahead")
    key = f"lq_{key_id}_{urlsafe_b64encode(entropy[_ID_BYTES:]).decode().rstrip('=')}"
    entry = KeyEntry(key_id, name, _digest(key), allowed, now, expires)
    return KeyRing((*ring.entries, entry)), key


def revoked_key(ring: KeyRing, name: str, now: datetime) -> KeyRing:
    """The ring with the key of that name revoked at `now`; one that was before stays as it is.

    Raises:
        KeysError: there is no key of that name.
    """
    if all(entry.name != name for entry in ring.entries):
        raise KeysError("name: there is no such key")
    return KeyRing(
        replace(entry, revoked=entry.revoked or now) if entry.name == name else entry
        for entry in ring.entries
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


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
        for what, value, taken in (("id", entry.key_id, ids), ("name", entry.name, names)):
            if value in taken:
                raise KeysError(f"keys[{place}] ({entry.name}): {what}: another key has it")
            taken.add(value)
    return KeyRing(entries)


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_fields_once)
    except KeysError:
        raise
    except json.JSONDecodeError as error:
        raise KeysError(f"is not JSON: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets in brackets in brackets.
        raise KeysError("is not a file of keys") from None


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            # A reader would see only the last.
            raise KeysError(f"{_shown(name)}: is there twice in one object")
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


def _time_or_none(value: object, path: str) -> datetime | None:
    return None if value is None else _time(value, path)


def _time(value: object, path: str) -> datetime:
    allowed = "must be a time of RFC 3339, such as 2027-01-01T00:00:00Z"
    text = _matching(_RFC_3339, value, path, allowed)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise KeysError(f"{path}: {allowed}") from None


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
