"""Which servers are started, and what each is sent."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from google.protobuf.json_format import Parse

from liquidation.v1.rules_service_pb2 import CheckClaimRequest
from tests.attacks.differential.calls import Call, Lane, Settings, Stage, path_of
from tests.attacks.differential.drawing.claims import claims_lane, expiring_lane
from tests.attacks.differential.drawing.edges import (
    all_methods_lane,
    batches_lane,
    keys_lane,
    oversize_lane,
    paging_lane,
    rate_lane,
)
from tests.attacks.differential.drawing.lanes import asked, checks_lane
from tests.attacks.differential.drawing.liquidations import liquidations_lane
from tests.attacks.differential.drawing.malformed import bytes_of_no_message
from tests.attacks.oracle.answers import InForce
from tests.attacks.oracle.drawing import ONE, written
from tests.attacks.oracle.worlds import rules_text

_REAL: Final = Path(__file__).parents[3] / "data" / "real_requests.jsonl"
_CHECK: Final = path_of("LiquidationRulesService.CheckClaim")
_RELAXED: Final = (
    "known_fields", "ratio_qty_request_range", "extra_liquidation_ratio_range",
    "extra_needs_full_ratio", "no_claim_in_process", "liquidator_not_in_liquidation",
    "margin_below_maintenance", "least_request_ratio", "limit_price", "liquidator_margin",
)  # fmt: skip
_KEYS: Final = {
    "check": ["check"],
    "liquidations": ["liquidations"],
    "claims": ["claims"],
    "force": ["claims", "claims:force"],
    "both": ["claims", "liquidations"],
    "admin": ["admin"],
    "revoked": [],
}
# Requests of one server: a longer run starts new ones.
_MOST: Final = 12_000
# From so many on there are two servers with rules that are not the default ones.
_MANY: Final = 4000


def drawn_stages(seed: int, requests: int) -> Iterator[Stage]:
    """Stages with about so many drawn requests, the real ones beside them; the seed decides all."""
    random = Random(seed)
    numbers = count(1000)
    rounds = -(-requests // _MOST)
    for each in range(rounds):
        share = requests // rounds
        yield _plain(random, numbers, share // 3, f"default rules {each}")
        yield _relaxed(random, numbers, share // 4, f"modes and a candidate {each}")
        if share >= _MANY:
            yield _relaxed(random, numbers, share // 4, f"other modes and a candidate {each}")
        yield _masked(random, numbers, share // 8, f"masking and sampling {each}")
        yield _with_keys(random, numbers, share // 40, f"keys {each}")
        yield _limited(f"limits {each}")


def _lanes(random: Random, numbers: Iterator[int], requests: int, in_force: InForce) -> list[Lane]:
    """Lanes of about so many requests, most of them decisions."""
    lanes: list[Lane] = []
    while sum(call.requests for lane in lanes for call in lane.calls) < requests:
        many = min(150, max(20, requests // 10))
        lanes += [checks_lane(random, next(numbers), in_force, many) for _ in range(3)]
        lanes.append(claims_lane(random, next(numbers), many // 3))
        lanes.append(liquidations_lane(random, next(numbers), in_force, many // 5))
    return lanes


def _real_requests(*, explain: bool) -> list[bytes]:
    return [
        Parse(line, CheckClaimRequest(explain=explain)).SerializeToString()
        for line in _REAL.read_text(encoding="utf-8").splitlines()
    ]


def _changed(random: Random) -> Lane:
    """Real requests with a byte changed, cut off or put in between; nothing is stored of them."""
    requests = random.sample(_real_requests(explain=False), 100)
    calls = [Call(_CHECK, (bytes_of_no_message(random, each),)) for each in requests]
    return Lane([[each] for each in calls], alone=True)


def _real(random: Random, *, explain: bool) -> Lane:
    requests = _real_requests(explain=explain)
    singly = [Call(_CHECK, (each,)) for each in requests]
    return Lane(asked(random, requests) if explain else [singly])


def _plain(random: Random, numbers: Iterator[int], requests: int, name: str) -> Stage:
    alone = [
        _changed(random),
        all_methods_lane(random),
        batches_lane(1000 if requests >= _MANY // 3 else 100),
        paging_lane(),
    ]
    beside = [_real(random, explain=False), _real(random, explain=True)]
    expiring = [expiring_lane(random, next(numbers)) for _ in range(4)]
    lanes = _lanes(random, numbers, requests, InForce())
    return Stage(name, Settings(), [*alone, *beside, *expiring, *lanes])


def _rules(random: Random, version: str, in_force: InForce) -> str:
    modes = {rule: random.choice(("shadow", "off")) for rule in random.sample(_RELAXED, 4)}
    return rules_text(replace(in_force, modes=modes), version)


def _relaxed(random: Random, numbers: Iterator[int], requests: int, name: str) -> Stage:
    low, high = map(written, random.choices((0, 1, ONE // 10, 5000 * ONE, 777 * ONE), k=2))
    in_force = InForce({"TIER_LOW": low, "TIER_HIGH": high})
    claims = "[claims]\ndefault_lease_ttl = 299\nretention_days = 3650\n"
    rules = _rules(random, "in-force", in_force) + claims
    candidate = _rules(random, "candidate", InForce())
    lanes = _lanes(random, numbers, requests, in_force)
    real = [_real(random, explain=True)]
    return Stage(name, Settings(rules, candidate), [all_methods_lane(random), *real, *lanes])


def _masked(random: Random, numbers: Iterator[int], requests: int, name: str) -> Stage:
    flags = [f"--log-redact={each}" for each in ("account_id", "liquidator_id", "request_id")]
    flags += ["--log-redact=peer", "--log-redact-key=a key", "--log-sample=0.37"]
    candidate = _rules(random, "candidate", InForce())
    settings = Settings("", candidate, tuple(flags), serial=True)
    return Stage(name, settings, _lanes(random, numbers, requests, InForce()))


def _with_keys(random: Random, numbers: Iterator[int], requests: int, name: str) -> Stage:
    lanes = [keys_lane(list(_KEYS))]
    for lane in _lanes(random, numbers, requests, InForce()):
        key = random.choice(("admin", "both", "force", "check"))
        lanes.append(Lane([[_with_key(call, key) for call in step] for step in lane.steps]))
    return Stage(name, Settings(keys=_KEYS), lanes)


def _with_key(call: Call, key: str) -> Call:
    # Whoever still sends on a stream that is refused does not always see why: one item is enough.
    messages = call.messages if key in {"admin", "check"} else call.messages[:1]
    return replace(call, messages=messages, metadata=(("authorization", f"Bearer {{key:{key}}}"),))


def _limited(name: str) -> Stage:
    """A small request is too large, and a liquidator may ask three times a second."""
    limits = "[limits]\nmax_request_bytes = 4096\nliquidator_requests_per_second = 3"
    rules = f'version = "small"\n{limits}\n'
    lanes = [oversize_lane(4096, transport=2 * 4096), rate_lane()]
    return Stage(name, Settings(rules, serial=True), lanes)
