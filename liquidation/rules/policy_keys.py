"""Every key of a rules file: what it may be, and what it means.

Reading a file, what is said about a wrong one, and the page of settings all go by this table.
"""

from dataclasses import dataclass
from typing import Final


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

# In the order of the file.
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
    PolicyKey(
        "modes.RULE",
        "How a rule is applied.",
        'one of "enforce", "shadow", "off"',
    ),
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


def policy_key(path: str) -> PolicyKey:
    """The key of that path.

    Raises:
        KeyError: there is none.
    """
    return _BY_PATH[path]


def names_below(path: str) -> set[str]:
    """The names that may stand in the table at `path`; "" is the file itself."""
    prefix = f"{path}." if path else ""
    return {
        key.path.removeprefix(prefix).partition(".")[0]
        for key in POLICY_KEYS
        if key.path.startswith(prefix)
    }
