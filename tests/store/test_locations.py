"""What `--store` names, and that no password of it is ever shown."""

import pickle
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from liquidation.store.locations import PostgresDatabase, SqliteFile, parse_location

# What stands in every password below and in nothing else.
MARK = "S3cretM4rk"
# The signs of a URL, and a few more.
SIGNS = st.text("/?#@:&=%[], a1é", max_size=3)
PASSWORDS = st.builds(lambda before, after: f"{before}{MARK}{after}", SIGNS, SIGNS)
NAMES = st.text(min_size=1, max_size=6).filter(lambda name: "\0" not in name)
HOSTS = st.lists(
    st.sampled_from(["db1", "10.0.0.1:5433", "[::1]", "[fe80::1%25eth0]:6432", "db-2.example:1"]),
    min_size=1,
    max_size=3,
).map(",".join)
PARAMETERS = st.sampled_from(
    ["", "?target_session_attrs=read-write", "?sslmode=verify-full&application_name=a%20b"]
)


def encoded(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


def all_that_is_shown(url: str) -> str:
    """Everything that may come to people's eyes of a URL, a refusal of it included."""
    try:
        found = parse_location(url)
    except ValueError as error:
        return "".join(traceback.format_exception_only(error)) + repr(error.__context__)
    assert isinstance(found, PostgresDatabase)
    return f"{found!r} {found} {found.told}"


@given(NAMES, PASSWORDS, HOSTS, NAMES, PARAMETERS)
def test_what_is_told_is_the_database_without_its_password(
    user: str, password: str, hosts: str, name: str, parameters: str
) -> None:
    url = (
        f"postgresql://{encoded(user)}:{encoded(password)}@{hosts}/{encoded(name)}"
        f"{parameters}{'&' if parameters else '?'}sslpassword={encoded(password)}"
    )

    found = parse_location(url)

    assert isinstance(found, PostgresDatabase)
    whole = conninfo_to_dict(url)
    assert (whole.pop("password"), whole.pop("sslpassword")) == (password, password)
    assert conninfo_to_dict(found.told) == whole
    assert MARK not in all_that_is_shown(url)
    for secret in (password, encoded(password)):
        assert MARK not in found.shown(f"cannot be reached by {secret}")


@settings(max_examples=1000)
@given(
    PASSWORDS,
    st.sampled_from(
        [
            "postgresql://u:{}@h/db",
            "postgresql://u:{}@h1,[::1]:5432/db?sslmode=require",
            "postgres://:{}@/db",
            "postgresql://h/db?password={}",
            "postgresql://h?password={}",
            "postgresql://h:5432?password={}/db",
            "postgresql://u@h/db?sslmode=require&sslpassword={}&user=u",
            "postgresql:///db?p%61ssword={}",
            "postgresql://u:{}@h:/db?connect_timeout=3",
            "postgres:/u:{}@h",
            "u:{}@h",
            "mysql://u:{}@h/db",
        ]
    ),
)
def test_a_password_that_is_not_encoded_is_not_shown_either(password: str, form: str) -> None:
    assert MARK not in all_that_is_shown(form.format(password))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write",
            "postgresql://u@h1:5432,h2:5433/db?target_session_attrs=read-write",
        ),
        ("postgres://u:p@h", "postgres://u@h"),
        ("postgresql://", "postgresql://"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql://:p@[::1]:1,h:/db", "postgresql://[::1]:1,h:/db"),
        ("postgresql://u:a:b%40%2f@h/a/b", "postgresql://u@h/a/b"),
        ("postgresql:///db?host=/run/postgresql&port=5433", None),
        ("postgresql://h/db?passfile=/etc/pass", "postgresql://h/db"),
        ("postgresql://h/db?oauth_client_secret=s&user=u", "postgresql://h/db?user=u"),
        ("postgresql://u:u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:1,h2:65535/a/b", None),
        ("postgresql://h/db?service=a://b", None),
        ("postgresql:///?dbname=d&hostaddr=10.0.0.1&load_balance_hosts=random", None),
        ("postgresql:///?connect_timeout=3&application_name=a&user=u&service=s", None),
    ],
)
def test_every_form_that_libpq_takes_is_taken(url: str, told: str | None) -> None:
    found = parse_location(url)

    assert isinstance(found, PostgresDatabase)
    assert (found.url, found.told) == (url, told or url)
    assert repr(found) == f"PostgresDatabase(told={found.told!r})"


NEITHER = "the text is neither sqlite:PATH nor postgresql://USER@HOST:PORT/DATABASE"
NOT_ENCODED = (
    "the URL holds a space, a control character or a % that is not encoded;"
    " in a password they are written as %20, %25 and the like"
)
STRAY_AT = (
    "the URL holds an @ that does not stand between user and host;"
    " @, / and ? in a user, a password or a value are written as %40, %2F and %3F"
)
NO_HOST = (
    "the URL holds a host that is none, or a port that is no number;"
    " : and / in a password are written as %3A and %2F"
)
NO_PORT = "the URL holds a port that is not from 1 to 65535"
NO_PARAMETER = (
    "the URL holds a parameter that is not NAME=VALUE;"
    " = and & in a value are written as %3D and %26"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", NEITHER),
        ("sqlite:", NEITHER),
        ("Postgresql://h/db", NEITHER),
        ("postgresql://u:p/q@h/db", STRAY_AT),
        ("postgresql://u:p@q@h/db", STRAY_AT),
        ("postgresql://u:p?q@h/db", STRAY_AT),
        ("postgresql://u:p%@h/db", NOT_ENCODED),
        ("postgresql://u:p%00@h/db", NOT_ENCODED),
        ("postgresql://u:p q@h/db", NOT_ENCODED),
        ("postgresql://u:p\n@h/db", NOT_ENCODED),
        ("postgresql://u:\udcff@h/db", NOT_ENCODED),
        ("postgresql://h:port/db", NO_HOST),
        ("postgresql://u:p:1/db", NO_HOST),
        ("postgresql://[::1/db", NO_HOST),
        ("postgresql://[]/db", NO_HOST),
        ("postgresql://[::1]x/db", NO_HOST),
        ("postgresql://h:0/db", NO_PORT),
        ("postgresql://h:65536/db", NO_PORT),
        ("postgresql://h/db?sslmode", NO_PARAMETER),
        ("postgresql://h/db?=x", NO_PARAMETER),
        ("postgresql://h/db?options=-ca=b", NO_PARAMETER),
        ("postgresql://h/db?&", NO_PARAMETER),
    ],
)
def test_what_is_no_place_of_a_store_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^the (text|URL) ") as refused:
        parse_location(text)

    assert str(refused.value) == words


def test_a_url_by_itself_is_one_of_postgresql() -> None:
    with pytest.raises(ValueError, match=r"^the URL does not begin with postgresql://$"):
        PostgresDatabase("sqlite:liquidation.db")


def test_a_sqlite_file_is_told_as_it_was_written() -> None:
    found = parse_location("sqlite:a b/c.db")

    assert found == SqliteFile(Path("a b/c.db"))
    assert found.told == "sqlite:a b/c.db"


def test_what_a_driver_says_is_shown_unless_it_holds_a_password() -> None:
    database = PostgresDatabase("postgresql://u:p%40ss@h/db?sslpassword=word&connect_timeout=3")

    assert database.shown("no host h within 3 s") == "no host h within 3 s"
    for said in ("p@ss is wrong", "p%40ss is wrong", "the key's word"):
        assert database.shown(said) == (
            "(what was said holds the text of a password, and is not shown)"
        )


@pytest.mark.parametrize("url", ["postgresql://h/db", "postgresql://u@h/db"])
def test_a_url_without_a_password_hides_nothing(url: str) -> None:
    assert PostgresDatabase(url)._secrets == ()


def test_a_password_that_is_also_the_user_hides_nothing() -> None:
    database = PostgresDatabase("postgresql://postgres:postgres@h/db")

    assert database.shown("no role postgres") == "no role postgres"


def test_a_worker_is_given_the_whole_of_it() -> None:
    database = PostgresDatabase("postgresql://u:p@h/db")

    copy = pickle.loads(pickle.dumps(database))

    assert (copy, copy.url, copy.told) == (database, database.url, database.told)
    assert copy != PostgresDatabase("postgresql://u:q@h/db")
