"""`liquidation settings`, and the settings themselves: what is told is what `serve` takes."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click
import pytest
from click.testing import CliRunner

from liquidation.cli.serve import serve
from liquidation.config.options import SECTIONS, serve_options
from liquidation.config.settings import Settings
from liquidation.rules.policy import POLICY_KEYS, RULE_NAMES, Mode, PolicyError, read_policy
from liquidation.store.locations import PostgresDatabase
from tests.cli.commands import run
from tests.service.test_examples import EXAMPLES

EVERY = [setting for section in SECTIONS for setting in section.settings]


@click.command()
@serve_options
def told(**given: Any) -> None:
    """Shows what `serve` would be told."""
    click.echo(repr(Settings(**given)))


def taken(*arguments: str, **variables: str) -> str:
    """The settings that come of flags and variables."""
    result = CliRunner(env=variables).invoke(told, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def refused(*arguments: str) -> str:
    """What is said of a flag that is not allowed."""
    result = CliRunner().invoke(told, arguments)
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()[-1]


def shown() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(run("settings", "--format", "json").stdout)
    return known


def test_every_flag_of_serve_is_told_with_its_variable() -> None:
    of_serve = {each.opts[0]: each.envvar for each in serve.params if each.name != "check"}

    assert {each["flag"]: each["variable"] for each in shown()["settings"]} == of_serve


def test_what_is_told_as_default_is_what_a_server_has_without_any_flag() -> None:
    assert taken() == repr(Settings())
    for each in EVERY:
        if not each.unset:
            values = each.default if isinstance(each.default, tuple) else (each.default,)
            assert taken(*(f"{each.flag}={value}" for value in values)) == repr(Settings())


def test_every_setting_is_a_field() -> None:
    names = [each.flag.removeprefix("--").replace("-", "_") for each in EVERY]

    assert sorted(names) == sorted(field.name for field in fields(Settings))


def test_the_help_of_serve_tells_what_the_table_tells() -> None:
    help_ = " ".join(run("serve", "--help").stdout.split())

    for each in EVERY:
        assert f"{each.told} [env var: {each.variable}; default: " in help_


def test_what_holds_without_a_value_is_told_in_words() -> None:
    without = {each["flag"]: each["unset"] for each in shown()["settings"]}

    assert without["--rules"] == "the built-in rules"
    assert without["--metrics-listen"] == "off"
    assert without["--workers"] is None


def test_a_flag_that_may_be_repeated_takes_its_values_from_the_variable_apart_by_spaces() -> None:
    both = Settings(listen=("127.0.0.1:1", "unix:s"), log_redact=("peer", "account_id"))

    assert taken(
        LIQUIDATION_LISTEN="127.0.0.1:1 unix:s", LIQUIDATION_LOG_REDACT="peer account_id"
    ) == repr(both)


def test_a_variable_that_is_empty_is_not_set() -> None:
    assert taken(**{each.variable: "" for each in EVERY}) == repr(Settings())


def test_a_flag_wins_over_its_variable() -> None:
    assert taken("--workers", "2", LIQUIDATION_WORKERS="3") == repr(Settings(workers=2))


@pytest.mark.parametrize("owner", ["no-such-user", "0:no-such-group", "", ":0"])
def test_an_owner_that_is_not_of_this_host_is_refused(owner: str) -> None:
    assert "'--unix-owner'" in refused("--unix-owner", owner)


def test_a_database_is_taken_and_its_password_is_not_shown() -> None:
    url = "postgresql://user:S3cret@db1:5432,db2/liquidation?target_session_attrs=read-write"

    shown = taken("--store", url)

    assert shown == taken(LIQUIDATION_STORE=url) == repr(Settings(store=PostgresDatabase(url)))
    assert "S3cret" not in shown
    assert "user@db1:5432,db2/liquidation" in shown


@pytest.mark.parametrize(
    "store", ["mysql://user:S3cret@db", "sqlite:", "S3cret", "postgresql://user:S3cret@db@db"]
)
def test_a_store_that_is_refused_is_not_repeated(store: str) -> None:
    told = refused("--store", store)

    assert "'--store'" in told
    assert "S3cret" not in told


@pytest.mark.parametrize("span", ["nan", "0.09", "10.1"])
def test_a_store_has_a_tenth_of_a_second_to_ten_to_answer(span: str) -> None:
    assert "'--store-timeout'" in refused("--store-timeout", span)
    for given in ("0.1", "10"):
        assert taken("--store-timeout", given) == repr(Settings(store_timeout=float(given)))


@pytest.mark.parametrize("span", ["nan", "inf", "-1", "1000000.1", "soon", "0.05"])
def test_a_span_that_is_no_number_of_seconds_within_bounds_is_refused(span: str) -> None:
    assert "'--max-call-time'" in refused("--max-call-time", span)


def test_a_span_is_taken_up_to_its_bounds() -> None:
    for given in ("0.1", "1000000"):
        assert taken("--max-call-time", given) == repr(Settings(max_call_time=float(given)))


def paths(table: dict[str, Any], above: str = "") -> Iterator[str]:
    """The full paths of a rules file's keys, in its order; the name of a rule is RULE."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from paths(value, f"{above}{name}.")
        else:
            yield above + ("RULE" if name in RULE_NAMES else name)


def test_the_keys_of_a_rules_file_are_told_in_the_order_of_the_file() -> None:
    example = tomllib.loads((EXAMPLES / "rules.toml").read_text(encoding="utf-8"))

    told = {each["key"]: each["default"] for each in shown()["rules"]}
    assert list(told) == list(dict.fromkeys(paths(example)))
    for section in ("claims", "limits"):
        for name, value in example[section].items():
            assert told[f"{section}.{name}"] == str(value)


def test_a_wrong_value_is_answered_with_what_the_table_allows() -> None:
    for key in POLICY_KEYS:
        path = key.path.replace("RULE", RULE_NAMES[0])
        section, _, name = path.rpartition(".")
        version = "" if name == "version" else 'version = "1"\n'
        header = f"[{section}]\n" if section else ""
        with pytest.raises(PolicyError) as wrong:
            read_policy(f"{version}{header}{name} = [1]\n")

        assert str(wrong.value).startswith(f"{path}: must be ")
        assert key.range in str(wrong.value)


def test_the_modes_that_are_told_are_those_that_are_taken() -> None:
    (modes,) = (key.range for key in POLICY_KEYS if key.path == "modes.RULE")

    assert modes == "one of " + ", ".join(f'"{mode.value}"' for mode in Mode)


def test_people_get_a_table_with_everything() -> None:
    table = run("settings").stdout

    assert all(each.flag in table and each.variable in table for each in EVERY)
    assert all(key.path in table for key in POLICY_KEYS)
    assert "`" not in table
