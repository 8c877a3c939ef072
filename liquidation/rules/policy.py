"""The policy: thresholds, modes and limits, as `rules.toml` sets them.

Amounts may be written as TOML numbers or as strings; both are read digit by digit, never as binary
floats. A key that is not known, and a value that is not allowed, is an error that names the key.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from liquidation.rules.model import Tier, value
from liquidation.rules.numbers import ZERO, parse_decimal, plain

# Positions in a snapshot or an account, and symbols in the terms; inclusive.
MAX_POSITIONS: Final = 256
# Items of one batch; inclusive.
MAX_BATCH: Final = 1000
# Rows of one page; inclusive.
MAX_PAGE: Final = 1000

# Every rule, in the order in which they decide.
RULE_NAMES: Final = (
    "known_fields",
    "well_formed",
    "ratio_qty_request_range",
    "extra_liquidation_ratio_range",
    "extra_needs_full_ratio",
    "liquidation_known",
    "tier_shape",
    "no_claim_in_process",
    "liquidator_not_in_liquidation",
    "margin_below_maintenance",
    "least_request_ratio",
    "limit_price",
    "liquidator_margin",
)

# Without these there is nothing for the later rules to look at, so they are always enforced.
_ALWAYS_ENFORCED: Final = frozenset({"well_formed", "liquidation_known", "tier_shape"})

_DAY_S: Final = 24 * 60 * 60


class PolicyError(ValueError):
    """A rules file that cannot be taken; the text names the key and says what is wrong."""


class Mode(Enum):
    """How a rule is applied; values as in `rules.toml`."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Leases of claims and how long ended claims are kept, in seconds."""

    default_lease_ttl_s: int = 30
    retention_s: int = 7 * _DAY_S


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes; all inclusive.

    Bytes of one request, calls in progress at once, and claims that one liquidator may ask for
    within any second; 0 sets no such limit. The exchange's own is 5.
    """

    max_request_bytes: int = 4 * 1024 * 1024
    max_concurrent_calls: int = 1000
    liquidator_requests_per_second: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force. `min_claim_notional` is in USDC, inclusive, for each tier."""

    version: str = "default"
    min_claim_notional: Mapping[Tier, Decimal] = field(
        default_factory=lambda: {Tier.LOW: Decimal(10000), Tier.HIGH: Decimal(5000)}
    )
    modes: Mapping[str, Mode] = field(default_factory=dict)
    claims: ClaimRules = ClaimRules()
    limits: Limits = Limits()

    def mode(self, rule: str) -> Mode:
        """How `rule` is applied; enforced unless the file says otherwise."""
        return self.modes.get(rule, Mode.ENFORCE)


@value
class ActivePolicy:
    """The rules that decide, and a candidate whose verdicts are only compared with theirs."""

    policy: Policy
    candidate: Policy | None = None


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A key, by its full path. `RULE` in it stands for the name of any rule.

    `allowed` is a phrase that goes on from "must be". Where it is "", the key is a whole number
    within `bounds`, inclusive.
    """

    path: str
    meaning: str
    allowed: str = ""
    bounds: tuple[int, int] = (0, 0)

    @property
    def range(self) -> str:
        """What the key may be, as a table has it."""
        return self.allowed or "{} to {}".format(*self.bounds)

    @property
    def must_be(self) -> str:
        """What is said of a value that is not allowed."""
        return f"must be {self.allowed or f'a whole number from {self.range}'}"


_AMOUNT: Final = "a decimal of zero or more, such as 10000 or 0.5"

# Every key of a rules file, in its order. Reading a file, what is said about a wrong one, and the
# page of settings go by this table.
POLICY_KEYS: Final = (
    PolicyKey(
        "version",
        "Names the rules in every decision and log line; needed in every file.",
        "1 to 64 printable ASCII characters",
    ),
    PolicyKey(
        "tiers.low.min_claim_notional",
        "USDC, inclusive: the least notional of a claim on tier LOW (BTC, ETH), of the"
        " liquidation's total.",
        _AMOUNT,
    ),
    PolicyKey(
        "tiers.high.min_claim_notional",
        "USDC, inclusive: the same on tier HIGH (others), of each requested symbol.",
        _AMOUNT,
    ),
    PolicyKey("modes.RULE", "How a rule is applied.", 'one of "enforce", "shadow", "off"'),
    PolicyKey(
        "claims.default_lease_ttl",
        "Seconds: the lease of a claim that names none.",
        bounds=(1, 300),
    ),
    PolicyKey(
        "claims.retention_days",
        "Days that ended claims and their request ids are remembered.",
        bounds=(1, 3650),
    ),
    PolicyKey(
        "limits.max_request_bytes",
        "The largest request in bytes, inclusive.",
        bounds=(1024, 64 * 1024**2),
    ),
    PolicyKey(
        "limits.max_concurrent_calls",
        "Calls in progress at once in one worker, inclusive.",
        bounds=(1, 1_000_000),
    ),
    PolicyKey(
        "limits.liquidator_requests_per_second",
        "Requests of one liquidator in any second, in one worker; 0 is no limit.",
        bounds=(0, 1_000_000),
    ),
)

_BY_PATH: Final = {key.path: key for key in POLICY_KEYS}


def names_below(path: str) -> set[str]:
    """The names that may stand in the table at `path`; "" is the file itself."""
    prefix = f"{path}." if path else ""
    return {
        key.path.removeprefix(prefix).partition(".")[0]
        for key in POLICY_KEYS
        if key.path.startswith(prefix)
    }


def read_policy(text: str) -> Policy:
    """The policy that the text of a `rules.toml` sets. What it leaves out keeps its default.

    Raises:
        PolicyError: the text is no TOML, a key is not known, or a value is not allowed.
    """
    try:
        table = tomllib.loads(text, parse_float=_Literal)
    except (ValueError, RecursionError) as error:
        # No TOML is a ValueError, and so is a number of more digits than Python reads.
        raise PolicyError(f"not a TOML file: {error}") from error
    return policy_from_record(table)


def policy_record(policy: Policy) -> dict[str, Any]:
    """A policy in the shape of its `rules.toml`, every key there, as the log tells it."""
    return {
        "version": policy.version,
        "tiers": {
            tier.name.lower(): {"min_claim_notional": plain(policy.min_claim_notional[tier])}
            for tier in Tier
        },
        "modes": {rule: policy.mode(rule).value for rule in RULE_NAMES},
        "claims": {
            "default_lease_ttl": policy.claims.default_lease_ttl_s,
            "retention_days": policy.claims.retention_s // _DAY_S,
        },
        "limits": {
            "max_request_bytes": policy.limits.max_request_bytes,
            "max_concurrent_calls": policy.limits.max_concurrent_calls,
            "liquidator_requests_per_second": policy.limits.liquidator_requests_per_second,
        },
    }


def policy_from_record(table: Mapping[str, Any]) -> Policy:
    """The policy that a table of the shape of `rules.toml` sets; raises as `read_policy`."""
    sections = _section(table, "", names_below(""))
    if "version" not in sections:
        raise PolicyError("version: is missing; every decision names the version it was made with")
    return Policy(
        version=_version(sections["version"]),
        min_claim_notional=_thresholds(sections.get("tiers", {})),
        modes=_modes(sections.get("modes", {})),
        claims=_claims(_whole_numbers(sections, "claims")),
        limits=Limits(**_whole_numbers(sections, "limits")),
    )


class _Literal(str):
    """A TOML float as it is written, so that none of its digits is lost."""

    __slots__ = ()


def _section(value: object, path: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{path}: must be a table")
    for key in value:
        if key not in known:
            name = f"{path}.{key}" if path else key
            raise PolicyError(f"{name}: is not a known key; known here: {', '.join(sorted(known))}")
    return value


def _version(value: object) -> str:
    text = "" if isinstance(value, bool) else _written(value)
    if not (0 < len(text) <= 64 and text.isascii() and text.isprintable()):
        raise _not_allowed("version", "version")
    return text


def _thresholds(value: object) -> dict[Tier, Decimal]:
    tiers = _section(value, "tiers", names_below("tiers"))
    thresholds = dict(Policy().min_claim_notional)
    for tier in Tier:
        path = f"tiers.{tier.name.lower()}"
        section = _section(tiers.get(tier.name.lower(), {}), path, names_below(path))
        if "min_claim_notional" in section:
            thresholds[tier] = _amount(section["min_claim_notional"], f"{path}.min_claim_notional")
    return thresholds


def _amount(value: object, path: str) -> Decimal:
    text = _written(value)
    if isinstance(value, _Literal):
        # TOML writes 10_000.5 and +0.5 too.
        text = text.replace("_", "").removeprefix("+")
    amount = parse_decimal(text)
    if amount is None or amount < ZERO:
        raise _not_allowed(path, path)
    return amount


def _written(value: object) -> str:
    """A text, or a whole number as text; "" where it is neither, or too long to be written."""
    try:
        return str(value) if isinstance(value, str | int) else ""
    except ValueError:
        # TOML has hexadecimal numbers of any length, and Python writes 4300 digits at most.
        return ""


def _modes(value: object) -> dict[str, Mode]:
    modes = _section(value, "modes", set(RULE_NAMES))
    return {rule: _mode(rule, mode) for rule, mode in modes.items()}


def _mode(rule: str, value: object) -> Mode:
    try:
        mode = Mode(value)
    except ValueError:
        raise _not_allowed(f"modes.{rule}", "modes.RULE") from None
    if rule in _ALWAYS_ENFORCED and mode is not Mode.ENFORCE:
        raise PolicyError(
            f'modes.{rule}: must be "enforce"; later rules need what it makes sure of'
        )
    return mode


def _claims(given: Mapping[str, int]) -> ClaimRules:
    built_in = ClaimRules()
    days = given.get("retention_days", built_in.retention_s // _DAY_S)
    return ClaimRules(given.get("default_lease_ttl", built_in.default_lease_ttl_s), days * _DAY_S)


def _whole_numbers(sections: Mapping[str, Any], path: str) -> dict[str, int]:
    """The keys of a section of whole numbers that a file sets."""
    section = _section(sections.get(path, {}), path, names_below(path))
    return {name: _whole_number(value, f"{path}.{name}") for name, value in section.items()}


def _whole_number(value: object, path: str) -> int:
    lowest, highest = _BY_PATH[path].bounds
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _not_allowed(path, path)
    return value


def _not_allowed(path: str, key: str) -> PolicyError:
    return PolicyError(f"{path}: {_BY_PATH[key].must_be}")
