"""`serve --check`: what it tells of files, of the store and of the log."""

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from liquidation.store.sqlite.connections import HostClock
from liquidation.store.sqlite.schema import NEWEST
from tests.certificates import LOCAL, Authority
from tests.cli.checking import check, check_as_a_user, contents, finding, told
from tests.cli.commands import run
from tests.processes import serving
from tests.store.stores import sqlite_store

pytestmark = pytest.mark.usefixtures("directory")
TLS = ("--tls-cert", "tls.crt", "--tls-key", "tls.key")


@pytest.mark.parametrize(
    ("ends", "state", "words"),
    [
        (timedelta(days=15, hours=1), "ok", r".+, valid until \d{4}-\d\d-\d\d \d\d:\d\d UTC"),
        (timedelta(days=13, hours=1), "note", r".+ UTC; that is in 13 days"),
        (timedelta(hours=-1), "wrong", r".*expired at .+"),
    ],
)
def test_a_certificate_is_told_with_its_end(
    directory: Path, authority: Authority, ends: timedelta, state: str, words: str
) -> None:
    authority.issue(*LOCAL, ends=ends).write(directory / "tls.crt", directory / "tls.key")

    found, text = finding("tls", *TLS)

    assert found == state
    assert re.fullmatch(rf"tls\.crt: {words}", text)


def test_authorities_of_callers_are_told_whatever_the_certificate_is_like(
    directory: Path, authority: Authority
) -> None:
    (directory / "ca.crt").write_bytes(authority.pem + Authority().pem)
    (directory / "tls.key").write_text("no key")
    result = check(*TLS, "--tls-client-ca", "ca.crt")
    lines = {part: (state, words) for state, part, words in told(result)}

    assert lines["client CA"][0] == "ok"
    assert lines["client CA"][1].startswith("ca.crt: 2 authorities, valid until ")
    assert lines["tls"] == ("wrong", "tls.key: holds no PEM private key")


@pytest.mark.usefixtures("authority")
def test_authorities_that_cannot_be_read_are_wrong(directory: Path) -> None:
    (directory / "ca.crt").write_text("no certificate")
    result = check(*TLS, "--tls-client-ca", "ca.crt")
    states = {part: state for state, part, _ in told(result)}

    assert (states["client CA"], states["tls"]) == ("wrong", "ok")


def test_keys_are_counted_and_not_shown() -> None:
    def keys(*arguments: str) -> str:
        return run("keys", *arguments, "--file", "keys.json").stdout

    key = keys("new", "one", "--permission", "check")
    assert finding("API keys", "--api-keys", "keys.json") == (
        "ok",
        "keys.json: 1 key: 1 good, 0 expired, 0 revoked",
    )

    keys("revoke", "one")
    assert finding("API keys", "--api-keys", "keys.json") == (
        "note",
        "keys.json: 1 key: 0 good, 0 expired, 1 revoked; no call will be let in",
    )
    output = check("--api-keys", "keys.json", "--log-redact-key", "a secret").stdout
    assert key.strip() not in output
    assert "a secret" not in output


def test_rules_are_told_with_what_is_not_enforced(directory: Path) -> None:
    (directory / "r.toml").write_text(
        'version = "7"\n[tiers.low]\nmin_claim_notional = 0.5\n[modes]\nlimit_price = "shadow"\n'
        'liquidator_margin = "off"\nknown_fields = "enforce"'
    )
    words = (
        "r.toml: version 7, min_claim_notional low 0.5, high 5000;"
        " not enforced: limit_price shadow, liquidator_margin off"
    )

    assert finding("rules", "--rules", "r.toml") == ("note", words)
    assert finding("candidate rules", "--candidate-rules", "r.toml") == ("note", words)


def test_wrong_rules_are_told_with_their_key(directory: Path) -> None:
    (directory / "r.toml").write_text('version = "7"\nversions = 1')

    state, words = finding("rules", "--rules", "r.toml")

    assert state == "wrong"
    assert words.startswith("r.toml: versions: is not a known key")


def the_store(path: Path, statement: str) -> None:
    """Makes a database, and does one more thing to it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE some (thing)")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "state", "words"),
    [
        (f"PRAGMA user_version = {NEWEST}", "ok", f"schema version {NEWEST}"),
        (
            "PRAGMA user_version = 1",
            "note",
            f"schema version 1, which the start brings to {NEWEST} for good",
        ),
        (
            f"PRAGMA user_version = {NEWEST + 1}",
            "wrong",
            f"schema version {NEWEST + 1}, of which {NEWEST} is the newest known here",
        ),
        ("SELECT 1", "note", "holds the tables of another program, and none of this one's"),
        ("DROP TABLE some", "ok", "is empty, and will be set up"),
    ],
)
def test_the_schema_of_the_store_is_told_and_stays(
    directory: Path, statement: str, state: str, words: str
) -> None:
    the_store(directory / "a b?.db", statement)
    before = contents(directory)

    assert finding("store", "--store", "sqlite:a b?.db") == (state, f"sqlite:a b?.db: {words}")
    assert contents(directory) == before


async def test_a_store_that_was_closed_gets_no_files_of_a_reader(directory: Path) -> None:
    await sqlite_store(directory / "liquidation.db", HostClock()).aclose()
    before = contents(directory)

    assert finding("store") == ("ok", f"sqlite:liquidation.db: schema version {NEWEST}")
    assert contents(directory) == before


def test_a_store_whose_newest_schema_is_in_the_log_of_a_dead_process_is_read(
    directory: Path,
) -> None:
    with serving(directory) as server:
        server.popen.kill()
        server.popen.wait()
    assert (directory / "liquidation.db-wal").stat().st_size

    assert finding("store") == ("ok", f"sqlite:liquidation.db: schema version {NEWEST}")


@pytest.mark.parametrize("what", ["text", "directory", "directory beside"])
def test_what_is_no_store_is_wrong(directory: Path, what: str) -> None:
    if what == "text":
        (directory / "liquidation.db").write_text("this is not a database " * 100)
    else:
        suffix = "-turn" if what == "directory beside" else ""
        (directory / f"liquidation.db{suffix}").mkdir()

    assert finding("store")[0] == "wrong"


@pytest.mark.parametrize("name", ["liquidation.db", "liquidation.db-inside"])
def test_a_store_that_may_not_be_written_is_wrong(directory: Path, name: str) -> None:
    directory.chmod(0o777)
    (directory / name).touch(mode=0o444)

    status, output = check_as_a_user()

    assert status == 1
    assert f"sqlite:liquidation.db: this user may not write to {name}\n" in output


def test_a_directory_that_may_not_be_written_is_wrong(directory: Path) -> None:
    directory.chmod(0o777)
    (directory / "d").mkdir(mode=0o555)
    paths = ("--store", "sqlite:d/s", "--log-file", "d/l", "--listen", "unix:d/u")

    status, output = check_as_a_user(*paths)

    assert status == 1
    for name in ("sqlite:d/s", "d/l", "unix:d/u"):
        assert f"{name}: this user may not write in d\n" in output


def test_the_log_is_told(directory: Path) -> None:
    (directory / "old.log").touch()

    for path, state, words in (
        ("old.log", "ok", "lines will be appended"),
        ("new.log", "ok", "is not there yet, and will be made"),
        (".", "wrong", "is a directory"),
        ("old.log/l", "wrong", "Not a directory"),
        ("none/l", "wrong", "none: No such file or directory"),
    ):
        assert finding("log", "--log-file", path) == (state, f"{path}: {words}")


def test_hashes_that_everybody_can_tell_are_a_note() -> None:
    masked = ("--log-redact", "account_id", "--log-redact", "peer")

    assert finding("log", *masked)[0] == "note"
    assert finding("log", *masked, "--log-redact-key", "k") == (
        "ok",
        "standard output; as hashes: account_id, peer",
    )
