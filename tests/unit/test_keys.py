"""Whose a presented key is, and how keys are made and revoked."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.auth.keys import (
    ANYONE,
    ENTROPY_BYTES,
    Identity,
    KeyEntry,
    KeyRing,
    KeysError,
    KeyState,
    Permission,
    new_key,
    revoked_key,
)
from liquidation.rules.errors import GrpcCode
from liquidation.rules.model import Refusal

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CHECK = Permission.CHECK

NAME_ALLOWED = (
    "name: must be 1 to 40 ASCII letters, digits, dots, underscores and hyphens; "
    "first a letter or a digit"
)
ID_TAKEN = "id: the one that came up is taken; ask again for another"

entropies = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)
permission_sets = st.sets(st.sampled_from(Permission), min_size=1)


def ring_of_one(
    entropy: bytes = bytes(range(ENTROPY_BYTES)),
    permissions: Iterable[Permission] = (CHECK,),
    expires: datetime | None = None,
) -> tuple[KeyRing, str]:
    return new_key(KeyRing(), "risk-backend", permissions, expires, NOW, entropy)


def refused(ring: KeyRing, presented: str | None, now: datetime = NOW) -> tuple[int, GrpcCode]:
    answer = ring.identify(presented, CHECK, now)
    assert isinstance(answer, Refusal)
    return answer.row.code, answer.row.grpc


MALFORMED = (-1001, GrpcCode.UNAUTHENTICATED)
NOT_TAKEN = (-1002, GrpcCode.UNAUTHENTICATED)


def test_a_key_has_an_id_and_256_random_bits_and_the_ring_its_hash_alone() -> None:
    ring, key = ring_of_one()

    assert key == "lq_000102030405_BgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCU"
    (entry,) = ring.entries
    assert (entry.key_id, entry.name, entry.created) == ("000102030405", "risk-backend", NOW)
    assert entry.sha256 == hashlib.sha256(key.encode()).digest()


@given(entropies, permission_sets)
def test_a_key_is_that_of_its_entry(entropy: bytes, permissions: set[Permission]) -> None:
    ring, key = ring_of_one(entropy, permissions)

    identity = ring.identify(key, min(permissions, key=lambda each: each.value), NOW)

    assert identity == Identity("risk-backend", entropy[:6].hex(), frozenset(permissions))


@given(entropies, st.data())
def test_a_key_with_one_character_changed_is_nobodys(entropy: bytes, data: st.DataObject) -> None:
    ring, key = ring_of_one(entropy)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.characters().filter(lambda each: each != key[place]))

    assert refused(ring, key[:place] + other + key[place + 1 :]) in {MALFORMED, NOT_TAKEN}


@given(st.text())
def test_a_text_that_is_no_key_is_malformed(text: str) -> None:
    assert refused(ring_of_one()[0], text) == MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:0],
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: key.replace("lq_", "lr_"),
        lambda key: key.upper(),
        lambda key: key[:-1] + "=",
        lambda key: key[:-1] + "é",
        lambda key: key * 1000,
        lambda key: key.replace("000102030405", "00010203040５"),
    ],
)
def test_what_has_not_the_form_of_a_key_is_malformed(change: Callable[[str], str]) -> None:
    ring, key = ring_of_one()

    assert refused(ring, change(key)) == MALFORMED


def test_no_key_an_unknown_one_an_expired_and_a_revoked_one_are_told_in_the_same_words() -> None:
    ring, key = ring_of_one(expires=NOW + SECOND)
    unknown = "lq_ffffffffffff" + key[15:]
    revoked = revoked_key(ring, "risk-backend", NOW)

    answers = [
        ring.identify(None, CHECK, NOW),
        ring.identify(unknown, CHECK, NOW),
        ring.identify(key, CHECK, NOW + SECOND),
        revoked.identify(key, CHECK, NOW),
    ]

    assert refused(ring, None) == NOT_TAKEN
    assert all(answer == answers[0] for answer in answers)


def test_a_key_expires_at_its_time_and_not_before() -> None:
    ring, key = ring_of_one(expires=NOW + SECOND)
    instant = timedelta(microseconds=1)

    assert isinstance(ring.identify(key, CHECK, NOW + SECOND - instant), Identity)
    assert refused(ring, key, NOW + SECOND) == NOT_TAKEN
    elsewhere = (NOW + SECOND).astimezone(timezone(timedelta(hours=9)))
    assert refused(ring, key, elsewhere) == NOT_TAKEN


def test_a_revoked_key_is_not_taken_by_a_clock_that_is_behind_either() -> None:
    ring, key = ring_of_one()

    assert refused(revoked_key(ring, "risk-backend", NOW), key, NOW - 1000 * SECOND) == NOT_TAKEN


def test_the_secret_of_another_key_does_not_open_this_one() -> None:
    ring, first = ring_of_one()
    ring, second = new_key(ring, "nightly", [CHECK], None, NOW, bytes(ENTROPY_BYTES))

    assert refused(ring, first[:15] + second[15:]) == NOT_TAKEN
    assert [ring.identify(key, CHECK, NOW).name for key in (first, second)] == [  # type: ignore[union-attr]
        "risk-backend",
        "nightly",
    ]


def test_a_key_of_an_unknown_id_is_compared_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, key = ring_of_one()
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)

    ring.identify(key, CHECK, NOW)
    ring.identify("lq_ffffffffffff" + key[15:], CHECK, NOW)

    assert compared == [(32, 32), (32, 32)]


@pytest.mark.parametrize("needed", Permission)
@given(permissions=permission_sets)
def test_a_key_allows_what_it_says_and_admin_everything(
    needed: Permission, permissions: set[Permission]
) -> None:
    ring, key = ring_of_one(permissions=permissions)

    answer = ring.identify(key, needed, NOW)

    if needed in permissions or Permission.ADMIN in permissions:
        assert isinstance(answer, Identity)
        assert answer.lacking(needed) is None
    else:
        assert isinstance(answer, Refusal)
        assert (answer.row.code, answer.row.grpc) == (-1002, GrpcCode.PERMISSION_DENIED)
        assert answer.message == ring.identify(None, needed, NOW).message  # type: ignore[union-attr]


def test_a_good_key_that_lacks_a_permission_is_told_apart_only_once_it_is_known_to_be_good() -> (
    None
):
    ring, key = ring_of_one(expires=NOW + SECOND)

    late = ring.identify(key, Permission.ADMIN, NOW + SECOND)

    assert isinstance(late, Refusal)
    assert late.row.grpc is GrpcCode.UNAUTHENTICATED


def test_an_identity_tells_which_further_permission_it_lacks() -> None:
    ring, key = ring_of_one(permissions=[Permission.CLAIMS])
    identity = ring.identify(key, Permission.CLAIMS, NOW)

    assert isinstance(identity, Identity)
    lacking = identity.lacking(Permission.CLAIMS_FORCE)
    assert lacking is not None
    assert (lacking.row.code, lacking.row.grpc) == (-1002, GrpcCode.PERMISSION_DENIED)


def test_anyone_has_no_name_and_may_do_everything() -> None:
    assert (ANYONE.name, ANYONE.key_id) == ("", "")
    assert all(ANYONE.lacking(permission) is None for permission in Permission)


@given(entropies)
def test_neither_key_nor_hash_stands_in_any_text(entropy: bytes) -> None:
    ring, key = ring_of_one(entropy)
    (entry,) = ring.entries
    planted = (key, key[16:], entry.sha256.hex(), repr(entry.sha256))

    shown = "\n".join(
        f"{each!r} {each}"
        for each in (
            ring,
            ring.entries,
            ring.identify(key, CHECK, NOW),
            ring.identify(key, Permission.ADMIN, NOW),
            ring.identify(key + "x", CHECK, NOW),
            ring.identify(key, CHECK, NOW).lacking(Permission.ADMIN),  # type: ignore[union-attr]
        )
    )

    assert not any(secret in shown for secret in planted)


def test_a_key_is_revoked_once_and_others_stay_as_they_are() -> None:
    ring, _ = ring_of_one()
    ring, other = new_key(ring, "nightly", [CHECK], None, NOW, bytes(ENTROPY_BYTES))

    once = revoked_key(ring, "risk-backend", NOW + SECOND)
    twice = revoked_key(once, "risk-backend", NOW + 2 * SECOND)

    assert once.entries == (replace(ring.entries[0], revoked=NOW + SECOND), ring.entries[1])
    assert twice.entries == once.entries
    assert isinstance(once.identify(other, CHECK, NOW), Identity)
    assert ring.entries[0].revoked is None


def test_rings_of_the_same_keys_are_equal_and_of_others_are_not() -> None:
    ring, _ = ring_of_one()
    alike, _ = ring_of_one()

    assert (ring, hash(ring)) == (alike, hash(alike))
    assert ring != revoked_key(ring, "risk-backend", NOW)
    assert ring != ring.entries
    assert hash(ring) != hash(revoked_key(ring, "risk-backend", NOW))


def test_a_ring_is_shown_by_the_names_of_its_keys() -> None:
    ring, _ = ring_of_one()
    ring, _ = new_key(ring, "nightly", [CHECK], None, NOW, bytes(ENTROPY_BYTES))

    assert repr(ring) == "KeyRing(risk-backend, nightly)"


def test_what_was_revoked_and_has_expired_is_revoked() -> None:
    ring, _ = ring_of_one(expires=NOW + SECOND)
    (entry,) = ring.entries

    assert entry.state(NOW) is KeyState.GOOD
    assert entry.state(NOW + SECOND) is KeyState.EXPIRED
    assert replace(entry, revoked=NOW).state(NOW + SECOND) is KeyState.REVOKED
    endless = KeyEntry("000102030405", "endless", bytes(32), frozenset({CHECK}), NOW)
    assert endless.state(NOW + SECOND) is KeyState.GOOD


def test_a_state_is_told_in_a_word() -> None:
    assert [state.value for state in KeyState] == ["good", "expired", "revoked"]


def test_a_key_that_is_not_there_cannot_be_revoked() -> None:
    with pytest.raises(KeysError, match=r"^name: there is no such key$"):
        revoked_key(ring_of_one()[0], "nobody", NOW)


@pytest.mark.parametrize(
    ("name", "permissions", "expires", "entropy", "problem"),
    [
        ("risk-backend", [CHECK], None, bytes(ENTROPY_BYTES), "name: risk-backend is taken"),
        ("", [CHECK], None, bytes(ENTROPY_BYTES), NAME_ALLOWED),
        ("a" * 41, [CHECK], None, bytes(ENTROPY_BYTES), NAME_ALLOWED),
        ("-a", [CHECK], None, bytes(ENTROPY_BYTES), NAME_ALLOWED),
        ("ä", [CHECK], None, bytes(ENTROPY_BYTES), NAME_ALLOWED),
        ("a\n", [CHECK], None, bytes(ENTROPY_BYTES), NAME_ALLOWED),
        ("new", [], None, bytes(ENTROPY_BYTES), "permissions: at least one is needed"),
        ("new", [CHECK], NOW, bytes(ENTROPY_BYTES), "expires: must lie ahead"),
        ("new", [CHECK], None, bytes(range(ENTROPY_BYTES)), ID_TAKEN),
    ],
)
def test_a_key_that_cannot_be_is_not_made(
    name: str,
    permissions: list[Permission],
    expires: datetime | None,
    entropy: bytes,
    problem: str,
) -> None:
    with pytest.raises(KeysError) as told:
        new_key(ring_of_one()[0], name, permissions, expires, NOW, entropy)

    assert str(told.value) == problem


@pytest.mark.parametrize("length", [0, ENTROPY_BYTES - 1, ENTROPY_BYTES + 1])
def test_a_key_is_never_made_of_too_little(length: int) -> None:
    with pytest.raises(ValueError, match="38 random bytes"):
        new_key(KeyRing(), "new", [CHECK], None, NOW, bytes(length))
