"""Inputs of the target `rpc` to begin with: every case file, and a claim's whole life."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import ParseDict

from tests import samples
from tests.attacks.fuzz.steps import METHODS, OURS, Input, Step, framed, request_type
from tests.unit.deciding import add_unknown_field

_CASES: Final = Path(__file__).parents[2] / "cases"
_METHODS: Final = {method.name: method for method in METHODS}
_TOKEN: Final = {"claim_id": OURS.decode(), "fencing_token": 1}
_ID: Final = {"liquidation_id": 101}
_PUT: Final[Any] = {"liquidation": samples.low()}
_BEGIN: Final = samples.low_request() | {"request_id": "order-1", "lease_ttl": "60s"}
_TIME: Final = Step(None, b"\x78")


def seeds() -> Iterator[bytes]:
    """Each story under each of the rules, and for each method bytes that are no request."""
    for steps in (*_cases(), *_claims(), *_liquidations(), *_plain()):
        for rules in range(3):
            yield Input(rules, list(steps)).encoded()
    yield from _many()
    for method in METHODS:
        for payload in (b"", b"\xff", b"\xe8\x04\x01"):
            yield Input(0, [Step(method, payload)]).encoded()


def _step(name: str, request: dict[str, Any], unknown: str | None = None) -> Step:
    method = _METHODS[name]
    message = ParseDict(request, request_type(method)())
    if unknown is not None:
        add_unknown_field(message, unknown)
    return Step(method, message.SerializeToString())


def _cases() -> Iterator[list[Step]]:
    for path in sorted(_CASES.glob("*.json")):
        case = json.loads(path.read_text())
        prior = case.get("prior", {})
        steps = [_step("PutLiquidation", {"liquidation": each}) for each in prior.get("put", ())]
        steps += [
            _step("CloseLiquidation", {"liquidation_id": each}) for each in prior.get("closed", ())
        ]
        name = case.get("call", "LiquidationRulesService.CheckClaim").split(".")[1]
        yield [*steps, _step(name, case["request"], case.get("unknown_field_in"))]


def _claims() -> Iterator[list[Step]]:
    begin = _step("BeginClaim", _BEGIN)
    again = _step("BeginClaim", _BEGIN | {"request_id": "order-2"})
    renew = _step("RenewClaim", _TOKEN | {"lease_ttl": "90s"})
    late = _step("RenewClaim", _TOKEN | {"fencing_token": 7})
    complete = _step("CompleteClaim", _TOKEN)
    cancel = _step("CancelClaim", _TOKEN | {"reason": "gone"})
    forced = _step("CancelClaim", {"claim_id": OURS.decode(), "force": True})
    get = _step("GetClaim", {"claim_id": OURS.decode()})
    page = _step("ListClaims", {"page_size": 1})
    yield [begin, begin, again, _step("CheckClaim", samples.low_request()), get]
    yield [begin, renew, complete, complete, cancel, again, get, page]
    yield [begin, cancel, cancel, complete, again, page]
    yield [begin, forced, again, _TIME, get, page]
    yield [begin, _TIME, again, late]
    yield [begin, _step("CloseLiquidation", _ID), _step("GetClaim", {"request_id": "order-1"})]
    yield [_step("BeginClaim", _BEGIN | {"lease_ttl": "-1.5s"})]
    yield [_step("BeginClaim", _BEGIN | {"liquidator": samples.liquidator()})]
    yield [begin, _step("ListClaims", {"account_id": "account-low"})]
    yield [begin, _step("ListClaims", _ID | {"state": 1})]
    yield [begin, _step("ListClaims", {"page_token": "YmVsb3c6MQ=="})]


def _liquidations() -> Iterator[list[Step]]:
    high: Any = {"liquidation": samples.high()}
    put, put_high = _step("PutLiquidation", _PUT), _step("PutLiquidation", high)
    close, get = _step("CloseLiquidation", _ID), _step("GetLiquidation", _ID)
    page = _step("ListLiquidations", {"account_id": "account-low", "page_size": 1})
    yield [put, put, put_high, get, close, close, put, page]
    yield [put, _step("CheckClaim", {"terms": samples.low_terms()})]
    yield [put_high, _step("CheckClaim", {"terms": samples.high_terms(), "explain": True})]
    yield [_step("BatchPutLiquidations", {"requests": [_PUT, high]}), get]
    yield [_step("BatchPutLiquidations", {"requests": [_PUT, _PUT]})]


def _plain() -> Iterator[list[Step]]:
    yield [_step("ListErrorCodes", {}), _step("GetRules", {})]
    account = samples.liquidator()["account"]
    own = samples.low(account=account, margin_ratio="", maintenance_margin_ratio="")
    yield [_step("CheckClaim", samples.low_request() | {"liquidation": own, "explain": True})]


def _many() -> Iterable[bytes]:
    checks = [samples.low_request(), samples.low_request({"ratio_qty_request": "0.3333"}), {}]
    yield Input(0, [_step("BatchCheckClaims", {"requests": checks})]).encoded()
    yield Input(1, [_step("BatchCheckClaims", {"requests": [{}] * 40})]).encoded()
    items = [
        _step("StreamCheckClaims", {"correlation_id": str(number), "request": each}).payload
        for number, each in enumerate(checks)
    ]
    stream = framed([*items, b"\xff", b"", b"\xe8\x04\x01"])
    yield Input(0, [Step(_METHODS["StreamCheckClaims"], stream)]).encoded()
