"""The file of keys: what it says is read, and whatever is wrong with it is told without secrets."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquidation.auth.keys import (
    ENTROPY_BYTES,
    KeyEntry,
    KeyRing,
    KeysError,
    Permission,
    keys_text,
    new_key,
    read_keys,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RING, KEY = new_key(
    KeyRing(), "risk-backend", [Permission.CHECK], None, NOW, bytes(range(ENTROPY_BYTES))
)
ENTRY: dict[str, Any] = json.loads(keys_text(RING))["keys"][0]

times = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)
entries = st.builds(
    KeyEntry,
    st.binary(min_size=6, max_size=6).map(bytes.hex),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.frozensets(st.sampled_from(Permission), min_size=1),
    times,
    st.none() | times,
    st.none() | times,
)
rings = st.lists(
    entries, unique_by=(lambda entry: entry.key_id, lambda entry: entry.name), max_size=5
).map(KeyRing)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def problem_of(text: str) -> str:
    with pytest.raises(KeysError) as told:
        read_keys(text)
    assert told.value.__cause__ is None
    return str(told.value)


def problem_if_any(text: str) -> str:
    """What is wrong with a file; "" where it is read."""
    try:
        read_keys(text)
    except KeysError as error:
        return str(error)
    return ""


def with_entry(**changed: object) -> str:
    """A file with one entry, some fields of it changed."""
    return json.dumps({"keys": [ENTRY | changed]})


def test_a_file_is_as_the_documents_say() -> None:
    assert json.loads(keys_text(RING)) == {
        "keys": [
            {
                "id": "000102030405",
                "name": "risk-backend",
                "sha256": "88fa333b37e26cd2d36abf2486759a058095870de30a1f03e872f6ace54e6fb9",
                "permissions": ["check"],
                "created": "2026-11-22T12:00:00Z",
                "expires": None,
                "revoked": None,
            }
        ]
    }


@given(rings)
def test_what_is_written_is_read_again(ring: KeyRing) -> None:
    assert read_keys(keys_text(ring)) == ring


def test_a_file_may_have_no_keys() -> None:
    assert read_keys('{"keys": []}').entries == ()


def test_a_file_is_written_for_people_too() -> None:
    assert keys_text(KeyRing()) == '{\n  "keys": []\n}\n'


def test_a_time_may_have_another_offset_and_parts_of_a_second() -> None:
    ring = read_keys(with_entry(expires="2027-01-01T09:00:00.25+09:00"))

    assert ring.entries[0].expires == datetime(2027, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert ring.entries[0].expires.utcoffset() == timedelta(0)


def test_a_time_is_in_utc_wherever_the_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ring = read_keys(with_entry())
        written = keys_text(ring)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert ring.entries[0].created.utcoffset() == timedelta(0)
    assert written == keys_text(RING)


def test_a_field_of_a_long_name_is_told_without_it() -> None:
    told = f"is not a known field; known here: {KNOWN}"

    assert problem_of(with_entry(**{"x" * 20: 1})) == f"keys[0]: {'x' * 20}: {told}"
    assert problem_of(with_entry(**{"x" * 21: 1})) == f"keys[0]: a field: {told}"


TIME = "must be a time of RFC 3339, such as 2027-01-01T00:00:00Z"
AT = "keys[0] (risk-backend)"
KNOWN = "id, name, sha256, permissions, created, expires, revoked"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON: line 1: Expecting value"),
        ('{"keys":\n[}', "is not JSON: line 2: Expecting value"),
        ("[" * 100_000, "is not a file of keys"),
        ('{"keys": %s}' % ("9" * 5000), "is not a file of keys"),
        ("[]", "the file: must be an object"),
        ("{}", "keys: is missing"),
        ('{"keys": {}}', "keys: must be a list"),
        ('{"keys": [], "more": 1}', "more: is not a known field; known here: keys"),
        ('{"keys": [], "keys": []}', "keys: is there twice in one object"),
        ('{"keys": [7]}', "keys[0]: must be an object"),
        (with_entry(scope=1), f"keys[0]: scope: is not a known field; known here: {KNOWN}"),
        (with_entry(id="0001020304"), f"{AT}: id: must be 12 lower-case hexadecimal digits"),
        (with_entry(id="00010203040A"), f"{AT}: id: must be 12 lower-case hexadecimal digits"),
        (with_entry(id=102030405), f"{AT}: id: must be 12 lower-case hexadecimal digits"),
        (with_entry(sha256="0" * 63), f"{AT}: sha256: must be 64 lower-case hexadecimal digits"),
        (with_entry(sha256="A" * 64), f"{AT}: sha256: must be 64 lower-case hexadecimal digits"),
        (with_entry(sha256=None), f"{AT}: sha256: must be 64 lower-case hexadecimal digits"),
        (with_entry(created="2026-11-22"), f"{AT}: created: {TIME}"),
        (with_entry(created=None), f"{AT}: created: {TIME}"),
        (with_entry(expires="2027-02-30T00:00:00Z"), f"{AT}: expires: {TIME}"),
        (with_entry(expires="2027-01-01T00:00:00"), f"{AT}: expires: {TIME}"),
        (with_entry(expires="9999-12-31T23:59:59-01:00"), f"{AT}: expires: {TIME}"),
        (with_entry(expires=1_800_000_000), f"{AT}: expires: {TIME}"),
        (with_entry(revoked=False), f"{AT}: revoked: {TIME}"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str) -> None:
    assert problem_of(text) == problem


@pytest.mark.parametrize("field", ENTRY)
def test_an_entry_has_every_field(field: str) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != field}

    assert problem_of(json.dumps({"keys": [entry]})) == f"keys[0]: {field}: is missing"


@pytest.mark.parametrize("name", ["", "a" * 41, "-a", ".a", "a b", "ä", "a\n", 7, None])
def test_a_name_is_short_and_plain(name: object) -> None:
    assert problem_of(with_entry(name=name)).startswith("keys[0]: name: must be 1 to 40 ASCII")


@pytest.mark.parametrize(
    "permissions", [[], ["chek"], ["check", "root"], "check", None, {"check": 1}, [["check"]]]
)
def test_permissions_are_some_of_those_known(permissions: object) -> None:
    assert problem_of(with_entry(permissions=permissions)) == (
        f"{AT}: permissions: must be a list of one or more of "
        "check, liquidations, claims, claims:force, admin"
    )


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"name": "other"}, "keys[1] (other): id: another key has it"),
        ({"id": "ffffffffffff"}, "keys[1] (risk-backend): name: another key has it"),
    ],
)
def test_no_two_keys_have_one_id_or_one_name(second: dict[str, str], problem: str) -> None:
    assert problem_of(json.dumps({"keys": [ENTRY, ENTRY | second]})) == problem


def test_a_field_that_is_there_twice_does_not_bring_a_revoked_key_back() -> None:
    twice = with_entry(revoked="2026-11-22T12:00:00Z")[:-3] + ', "revoked": null}]}'

    assert problem_of(twice) == "revoked: is there twice in one object"


@given(st.text() | any_json.map(json.dumps))
def test_whatever_stands_in_a_file_it_is_read_or_told(text: str) -> None:
    assert len(problem_if_any(text)) < 300


@given(field=st.sampled_from(sorted(ENTRY)), value=any_json)
def test_whatever_stands_in_a_field_it_is_read_or_told(field: str, value: Any) -> None:
    assert problem_if_any(with_entry(**{field: value}))[:7] in {"", "keys[0]"}


@pytest.mark.parametrize("field", [*ENTRY, KEY])
def test_a_key_in_the_wrong_place_is_not_told(field: str) -> None:
    texts = (
        with_entry(**{field: KEY}),
        with_entry(**{field: [KEY]}),
        with_entry(**{field: KEY[16:]}),
        json.dumps({"keys": [], KEY: field}),
        json.dumps({"keys": {KEY: field}}),
        f'{{"{KEY}": 1, "{KEY}": 2}}',
        json.dumps({"keys": []}) + KEY,
    )

    for text in texts:
        assert KEY[16:] not in problem_of(text)
