"""What a request meets, and what it is answered: values and texts, nothing of the service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
Numbers = Mapping[str, str]
# Rule, outcome, code, words.
Result = tuple[str, str, int, str]

# Name, HTTP status and gRPC code of each code.
_CODES = {
    0: ("", 0, "OK"),
    -1004: ("UNKNOWN_PARAM", 400, "INVALID_ARGUMENT"),
    -1005: ("INVALID_PARAM", 400, "INVALID_ARGUMENT"),
    -1012: ("RPC_REJECT", 400, "ABORTED"),
    -1101: ("RISK_TOO_HIGH", 400, "FAILED_PRECONDITION"),
    -1103: ("PRICE_FILTER", 400, "FAILED_PRECONDITION"),
    -1201: ("LIQUIDATION_REQUEST_RATIO_TOO_SMALL", 400, "FAILED_PRECONDITION"),
    -1202: ("LIQUIDATION_STATUS_ERROR", 400, "FAILED_PRECONDITION"),
}


@dataclass(frozen=True)
class State:
    """What is stored when a request comes: at most one liquidation of its id.

    `active_claim` is the id of the claim that holds the account, "" where none does.
    """

    stored: Json | None = None
    closed: bool = False
    open_accounts: frozenset[str] = frozenset()
    active_claim: str = ""
    last_completed_revision: int | None = None


@dataclass(frozen=True)
class InForce:
    """The rules in force, as texts of a rules file."""

    thresholds: Numbers = field(default_factory=lambda: {"TIER_LOW": "10000", "TIER_HIGH": "5000"})
    modes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the service has to answer, numbers as texts; "" where a number cannot be told.

    `numbers` are those that the refusal tells, `shadow` what rules in mode shadow have against it,
    `trace` the outcome of every rule, where it was asked for.
    """

    code: int = 0
    words: str = ""
    rule: str = ""
    total_notional: str = ""
    least_req_ratio: str = ""
    margin_ratio: str = ""
    maintenance_margin_ratio: str = ""
    revision: int = 0
    positions: tuple[tuple[str, str, str, str], ...] = ()
    numbers: Numbers = field(default_factory=dict)
    shadow: tuple[tuple[str, int, str], ...] = ()
    trace: tuple[Result, ...] = ()

    @property
    def name(self) -> str:
        return _CODES[self.code][0]

    @property
    def http_status(self) -> int:
        return _CODES[self.code][1]

    @property
    def grpc_code(self) -> str:
        return "NOT_FOUND" if self.rule == "liquidation_known" else _CODES[self.code][2]
