"""A `rules.toml` of any content: it is taken and then decides, or is refused by name."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from liquidation.api.convert import rules_in_force
from liquidation.config.live import ConfigurationError, read_configuration
from liquidation.config.settings import Settings
from liquidation.rules.evaluate import decide, rule_input
from liquidation.rules.model import StoredState
from liquidation.rules.policy import (
    RULE_NAMES,
    Policy,
    names_below,
    policy_from_record,
    policy_record,
)
from tests import samples
from tests.attacks.fuzz.complaints import said_of
from tests.attacks.fuzz.target import Look, Target
from tests.unit.deciding import request_of

_EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "rules.toml"
_NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
# What is said of a file as a whole, or the name of the key that is wrong.
_NAMED: Final = re.compile(r"(not a TOML file|is not UTF-8 text|[^:]*): .+", re.DOTALL)
_REQUESTS: Final = (
    samples.low_request(liquidator=samples.liquidator()),
    samples.low_request({"ratio_qty_request": "-0.3333", "extra_liquidation_ratio": "2"}),
    samples.high_request({"limit_price": {"PERP_SOL_USDC": "1"}}),
    samples.high_request({"symbols": [{"symbol": "PERP_BTC_USDC", "ratio_qty_request": "7"}]}),
)


@contextmanager
def _opened(directory: Path) -> Iterator[Look]:
    path = directory / "rules.toml"
    settings = Settings(rules=path)
    inputs = [rule_input(Policy(), request_of(each), StoredState()) for each in _REQUESTS]

    def look(data: bytes) -> None:
        path.write_bytes(data)
        try:
            policy = read_configuration(settings, lambda: _NOW).policy
        except ConfigurationError as error:
            _names_the_place(said_of(path, error))
            return
        record = policy_record(policy)
        assert policy_record(policy_from_record(record)) == record
        assert len(rules_in_force(policy).SerializeToString()) > len(policy.version)
        for given in inputs:
            decision = decide(replace(given, policy=policy), explain=True)
            assert [each.rule for each in decision.trace] == list(RULE_NAMES)
            assert decision.rules_version == policy.version

    yield look


def _names_the_place(said: str) -> None:
    assert _NAMED.fullmatch(said), said


def _seeds() -> Iterable[bytes]:
    yield _EXAMPLE.read_bytes()
    yield b'version = "1"'
    yield b"version = 7"
    for rule in RULE_NAMES:
        for mode in ("enforce", "shadow", "off", "on"):
            yield f'version = "1"\n[modes]\n{rule} = "{mode}"\n'.encode()
    for amount in ('"5000"', "1e3", "0.5", "-1", "10_000.5", "inf", "1979-05-27", "[1]", "true"):
        yield f'version = "1"\n[tiers.low]\nmin_claim_notional = {amount}\n'.encode()
    yield b"version = " + b"[" * 2000
    yield b"\xff"


_KEYS: Final = [
    name for path in ("", "claims", "limits", "tiers.low") for name in names_below(path)
]

TARGET: Final = Target(
    _opened,
    _seeds,
    longest=8192,
    words=(
        *(key.encode() for key in (*_KEYS, *RULE_NAMES)),
        *(b"[tiers.low]", b"[tiers.high]", b"[modes]", b"[claims]", b"[limits]"),
        *(
            b'"shadow"',
            b'"off"',
            b'"enforce"',
            b" = ",
            b"\n",
            b"0x",
            b'"""',
            b"{",
            b"}",
            b"inf",
            b"nan",
        ),
    ),
)
