"""The rules file: what it sets, and that nothing in it is taken on a guess."""

from dataclasses import replace
from decimal import Decimal

import pytest

from liquidation.rules.model import Tier
from liquidation.rules.policy import (
    MAX_BATCH,
    MAX_PAGE,
    MAX_POSITIONS,
    RULE_NAMES,
    ClaimRules,
    Limits,
    Mode,
    Policy,
    PolicyError,
    policy_from_record,
    policy_record,
    read_policy,
)
from tests import samples
from tests.unit.deciding import decision_on
from tests.unit.drawing import LARGEST, SMALLEST

MINIMAL = 'version = "1"\n'


def test_the_built_in_rules_have_the_thresholds_of_the_exchange() -> None:
    policy = Policy()

    assert policy.min_claim_notional == {Tier.LOW: Decimal(10000), Tier.HIGH: Decimal(5000)}
    assert policy.version == "default"
    assert {policy.mode(rule) for rule in RULE_NAMES} == {Mode.ENFORCE}


def test_a_lease_is_30_seconds_and_ended_claims_are_kept_for_seven_days() -> None:
    assert ClaimRules(default_lease_ttl_s=30, retention_s=7 * 24 * 3600) == Policy().claims


def test_the_built_in_limits_are_those_of_the_documents() -> None:
    limits = Policy().limits

    assert (limits.max_request_bytes, limits.max_concurrent_calls) == (4_194_304, 1000)
    assert limits.liquidator_requests_per_second == 0
    assert (MAX_POSITIONS, MAX_BATCH, MAX_PAGE) == (256, 1000, 1000)


def test_a_file_with_a_version_only_leaves_everything_else_as_built_in() -> None:
    assert read_policy(MINIMAL) == Policy(version="1")
    assert repr(read_policy(MINIMAL).claims) == repr(ClaimRules())  # 604800 s, and not 604800.0


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ('version = "2026-11-20"', "2026-11-20"),
        ("version = 7", "7"),
        ('version = "~"', "~"),
        (f'version = "{"v" * 64}"', "v" * 64),
    ],
)
def test_a_version_is_a_text_or_a_number(line: str, version: str) -> None:
    assert read_policy(line).version == version


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.name)
def test_a_threshold_of_one_tier_leaves_the_other(tier: Tier) -> None:
    text = f"{MINIMAL}[tiers.{tier.name.lower()}]\nmin_claim_notional = 77"
    expected = dict(Policy().min_claim_notional) | {tier: Decimal(77)}

    assert read_policy(text).min_claim_notional == expected


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("0.1", "0.1"),
        ("10000.000000000000000001", "10000.000000000000000001"),
        (LARGEST, LARGEST),
        (SMALLEST, SMALLEST),
        ('"0.1"', "0.1"),
        (f'"{LARGEST}"', LARGEST),
        ("10000", "10000"),
        ("10_000", "10000"),
        ("10_000.000_5", "10000.0005"),
        ("+0.5", "0.5"),
        ("0", "0"),
        ("0.0", "0"),
        ("-0.0", "0"),
    ],
)
def test_an_amount_is_read_digit_by_digit(written: str, exact: str) -> None:
    text = f"{MINIMAL}[tiers.low]\nmin_claim_notional = {written}"

    assert str(read_policy(text).min_claim_notional[Tier.LOW].normalize()) == str(
        Decimal(exact).normalize()
    )
    assert read_policy(text).min_claim_notional[Tier.LOW] == Decimal(exact)


def test_a_threshold_of_a_tenth_is_reached_by_a_tenth() -> None:
    policy = read_policy(f"{MINIMAL}[tiers.low]\nmin_claim_notional = 0.1")
    position = {"symbol": "PERP_BTC_USDC", "position_qty": "1", "mark_price": "1"}

    def accepted(ratio: str) -> bool:
        request = samples.low_request({"ratio_qty_request": ratio}, {"positions": [position]})
        return decision_on(request, policy=policy).accepted

    assert accepted("0.1")
    assert not accepted("0.099999999999999999")


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_a_rule_gets_the_mode_of_the_file_and_the_others_stay_enforced(mode: Mode) -> None:
    policy = read_policy(f'{MINIMAL}[modes]\nlimit_price = "{mode.value}"')

    assert policy.mode("limit_price") is mode
    assert {policy.mode(rule) for rule in RULE_NAMES if rule != "limit_price"} == {Mode.ENFORCE}


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_every_rule_may_be_named_in_modes(rule: str) -> None:
    assert read_policy(f'{MINIMAL}[modes]\n{rule} = "enforce"').mode(rule) is Mode.ENFORCE


def test_claims_and_limits_are_set_key_by_key() -> None:
    policy = read_policy(
        f"""{MINIMAL}
        [claims]
        default_lease_ttl = 45
        retention_days = 2
        [limits]
        max_request_bytes = 2048
        max_concurrent_calls = 3
        """
    )

    assert policy.claims == ClaimRules(default_lease_ttl_s=45, retention_s=2 * 24 * 3600)
    assert policy.limits == Limits(max_request_bytes=2048, max_concurrent_calls=3)


@pytest.mark.parametrize(
    ("section", "key", "lowest", "highest"),
    [
        ("claims", "default_lease_ttl", 1, 300),
        ("claims", "retention_days", 1, 3650),
        ("limits", "max_request_bytes", 1024, 64 * 1024**2),
        ("limits", "max_concurrent_calls", 1, 1_000_000),
    ],
)
def test_a_whole_number_is_taken_up_to_its_bounds_and_not_beyond(
    section: str, key: str, lowest: int, highest: int
) -> None:
    for inside in (lowest, highest):
        read_policy(f"{MINIMAL}[{section}]\n{key} = {inside}")
    for outside in (lowest - 1, highest + 1):
        with pytest.raises(PolicyError, match=f"{section}.{key}: must be a whole number"):
            read_policy(f"{MINIMAL}[{section}]\n{key} = {outside}")


WRONG = {
    "an unknown key": ("versions = 1", "versions"),
    "an unknown tier": ("[tiers.middle]\nmin_claim_notional = 1", "tiers.middle"),
    "an unknown key of a tier": ("[tiers.low]\nmin_notional = 1", "tiers.low.min_notional"),
    "an unknown rule": ('[modes]\nleast_ratio = "off"', "modes.least_ratio"),
    "an unknown key of claims": ("[claims]\nlease = 1", "claims.lease"),
    "an unknown key of limits": ("[limits]\nmax_bytes = 1", "limits.max_bytes"),
    "tiers that are no table": ("tiers = 5", "tiers"),
    "a tier that is no table": ("[tiers]\nlow = 10000", "tiers.low"),
    "modes that are no table": ('modes = "off"', "modes"),
    "claims that are a list": ("[[claims]]\ndefault_lease_ttl = 3", "claims"),
    "limits that are a text": ('limits = ""', "limits"),
    "a mode of another word": ('[modes]\nlimit_price = "on"', "modes.limit_price"),
    "a mode of another case": ('[modes]\nlimit_price = "Off"', "modes.limit_price"),
    "a mode that is a boolean": ("[modes]\nlimit_price = false", "modes.limit_price"),
    "a mode that is a float": ("[modes]\nlimit_price = 0.5", "modes.limit_price"),
    "a mode that is a list": ('[modes]\nlimit_price = ["off"]', "modes.limit_price"),
    "a mode that is a table": ("[modes.limit_price]\nmode = 1", "modes.limit_price"),
    "well_formed switched off": ('[modes]\nwell_formed = "off"', "modes.well_formed"),
    "well_formed in shadow": ('[modes]\nwell_formed = "shadow"', "modes.well_formed"),
    "liquidation_known switched off": ('[modes]\nliquidation_known = "off"',
                                       "modes.liquidation_known"),
    "tier_shape in shadow": ('[modes]\ntier_shape = "shadow"', "modes.tier_shape"),
    "a negative threshold": (
        "[tiers.low]\nmin_claim_notional = -1", "tiers.low.min_claim_notional"),
    "a negative threshold by a step": (
        f"[tiers.high]\nmin_claim_notional = -{SMALLEST}", "tiers.high.min_claim_notional"),
    "a threshold that is a boolean": (
        "[tiers.low]\nmin_claim_notional = true", "tiers.low.min_claim_notional"),
    "a threshold that is not a number": (
        "[tiers.low]\nmin_claim_notional = nan", "tiers.low.min_claim_notional"),
    "an infinite threshold": (
        "[tiers.low]\nmin_claim_notional = inf", "tiers.low.min_claim_notional"),
    "a threshold with an exponent": (
        "[tiers.low]\nmin_claim_notional = 1e4", "tiers.low.min_claim_notional"),
    "a threshold of 19 digits": (
        f"[tiers.low]\nmin_claim_notional = {10**18}", "tiers.low.min_claim_notional"),
    "a threshold of more digits than are written": (
        f"[tiers.low]\nmin_claim_notional = 0x1{'0' * 4000}", "tiers.low.min_claim_notional"),
    "a threshold of 19 decimals": (
        f"[tiers.low]\nmin_claim_notional = 0.{'1' * 19}", "tiers.low.min_claim_notional"),
    "a threshold that is a word": (
        '[tiers.low]\nmin_claim_notional = "ten"', "tiers.low.min_claim_notional"),
    "a threshold that is a date": (
        "[tiers.low]\nmin_claim_notional = 2026-11-20", "tiers.low.min_claim_notional"),
    "a threshold that is a list": (
        "[tiers.low]\nmin_claim_notional = [1]", "tiers.low.min_claim_notional"),
    "a lease that is a boolean": ("[claims]\ndefault_lease_ttl = true", "claims.default_lease_ttl"),
    "a lease that is a float": ("[claims]\ndefault_lease_ttl = 30.0", "claims.default_lease_ttl"),
    "a lease that is a text": ('[claims]\ndefault_lease_ttl = "30"', "claims.default_lease_ttl"),
    "a size that is a list": ("[limits]\nmax_request_bytes = []", "limits.max_request_bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "key"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_an_error_that_names_the_key(text: str, key: str) -> None:
    with pytest.raises(PolicyError) as error:
        read_policy(MINIMAL + text)

    assert str(error.value).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tiers = 5", "tiers: must be a table"),
        (
            "versions = 1",
            "versions: is not a known key; known here: claims, limits, modes, tiers, version",
        ),
        (
            "[tiers.low]\nleast = 1",
            "tiers.low.least: is not a known key; known here: min_claim_notional",
        ),
        (
            '[modes]\nwell_formed = "off"',
            'modes.well_formed: must be "enforce"; later rules need what it makes sure of',
        ),
    ],
)
def test_a_wrong_file_is_told_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(PolicyError) as error:
        read_policy(MINIMAL + text)

    assert str(error.value) == told


def test_a_file_without_version_is_told_what_it_is_for() -> None:
    with pytest.raises(PolicyError) as error:
        read_policy("")

    told = "version: is missing; every decision names the version it was made with"
    assert str(error.value) == told


WRONG_VERSIONS = {
    "missing": "",
    "empty": 'version = ""',
    "a boolean": "version = true",
    "a list": "version = []",
    "a table": "[version]",
    "too long": f'version = "{"v" * 65}"',
    "not ASCII": 'version = "é"',
    "two lines": 'version = "1\\n2"',
    "a number of more digits than are written": f"version = 0x1{'0' * 4000}",
}


@pytest.mark.parametrize("text", WRONG_VERSIONS.values(), ids=WRONG_VERSIONS.keys())
def test_a_version_that_a_decision_could_not_name_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError, match=r"^version: "):
        read_policy(text)


@pytest.mark.parametrize(
    "text", ["version =", "= 1", "[tiers", "version = 1\nversion = 2", "{}", "\0"], ids=repr
)
def test_a_file_that_is_not_toml_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError, match=r"^not a TOML file: "):
        read_policy(text)


def test_a_number_of_more_digits_than_are_read_is_an_error() -> None:
    with pytest.raises(PolicyError, match=r"^not a TOML file: "):
        read_policy(f"version = {'9' * 4301}")


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PolicyError, match="known here: high, low"):
        read_policy(f"{MINIMAL}[tiers.medium]")


def test_a_policy_comes_back_from_its_record() -> None:
    policy = read_policy(
        """
        version = "7"
        tiers.low.min_claim_notional = 0.000000000000000001
        modes.limit_price = "shadow"
        modes.liquidator_margin = "off"
        claims.retention_days = 3
        limits.max_concurrent_calls = 9
        """
    )

    again = policy_from_record(policy_record(policy))

    assert replace(again, modes={}) == replace(policy, modes={})
    assert [again.mode(rule) for rule in RULE_NAMES] == [policy.mode(rule) for rule in RULE_NAMES]
