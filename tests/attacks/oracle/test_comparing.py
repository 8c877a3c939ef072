"""What is compared: each part of an answer that is not as it should be is told."""

from dataclasses import replace
from typing import Any

import pytest

from liquidation.api.status import fill_result
from liquidation.v1 import errors_pb2, rules_service_pb2
from tests import samples
from tests.attacks.oracle.answers import Answer, InForce, State
from tests.attacks.oracle.comparing import differences, differences_of_line
from tests.attacks.oracle.evaluator import evaluate
from tests.unit.deciding import decision_on

Json = dict[str, Any]

VERSION = "default"
ACCEPTED = samples.low_request(explain=True)
REFUSED = samples.low_request({"ratio_qty_request": "0.3"}, explain=True)
LINE: Json = {
    "code": -1201,
    "name": "LIQUIDATION_REQUEST_RATIO_TOO_SMALL",
    "message": "least req ratio should = 0.3334",
    "outcome": "refused",
    "rule": "least_request_ratio",
    "total_notional": "30000",
    "least_req_ratio": "0.3334",
    "margin_ratio": "0.008",
    "maintenance_margin_ratio": "0.012",
    "revision": 7,
    "rules_version": VERSION,
}


def _expected(request: Json) -> Answer:
    return evaluate(request, State(), InForce())


def _result(request: Json) -> rules_service_pb2.CheckClaimResult:
    result = rules_service_pb2.CheckClaimResult()
    fill_result(result, "decision-1", decision_on(request, explain=True))
    return result


@pytest.mark.parametrize("request_", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_an_answer_that_is_right_has_no_differences(request_: Json) -> None:
    assert differences(_expected(request_), _result(request_), VERSION) == ("decision-1", [])


@pytest.mark.parametrize("request_", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
@pytest.mark.parametrize(
    "other",
    [
        {"code": -1103}, {"words": "no"}, {"rule": "limit_price"}, {"total_notional": "30000.1"},
        {"least_req_ratio": "0.3333"}, {"margin_ratio": "0.0081"}, {"revision": 8},
        {"maintenance_margin_ratio": "0.0121"}, {"trace": ()},
        {"positions": (("PERP_BTC_USDC", "1", "1", "1"),)}, {"numbers": {"claim_id": "claim-1"}},
    ],
    ids="".join,
)  # fmt: skip
def test_each_part_of_an_answer_is_compared(request_: Json, other: Json) -> None:
    expected = replace(_expected(request_), **other)

    assert differences(expected, _result(request_), VERSION)[1]


def test_other_rules_in_force_are_told() -> None:
    assert differences(_expected(ACCEPTED), _result(ACCEPTED), "other")[1]


@pytest.mark.parametrize("part", ["trace", "margin_ratio", "maintenance_margin_ratio"])
def test_what_would_have_fitted_must_not_give_way(part: str) -> None:
    result = _result(REFUSED)
    packed = next(each for each in result.refused.details if "LiquidationError" in each.type_url)
    error = errors_pb2.LiquidationError.FromString(packed.value)
    error.decision.ClearField(part)
    packed.value = error.SerializeToString()

    _, found = differences(_expected(REFUSED), result, VERSION)

    assert [each.split(" ")[0] for each in found] == ["left"]


def test_a_status_must_have_the_detail_of_its_code() -> None:
    result = _result(REFUSED)
    del result.refused.details[-1]

    assert differences(_expected(REFUSED), result, VERSION)[1]


def test_a_line_that_is_right_has_no_differences() -> None:
    assert differences_of_line(_expected(REFUSED), LINE, VERSION) == []


@pytest.mark.parametrize("key", LINE)
def test_each_key_of_a_line_is_compared(key: str) -> None:
    line = LINE | {key: 5 if isinstance(LINE[key], int) else "5"}

    assert differences_of_line(_expected(REFUSED), line, VERSION)


def test_a_shadow_that_is_not_logged_is_told() -> None:
    expected = replace(_expected(REFUSED), shadow=(("limit_price", -1103, "no"),))

    assert differences_of_line(expected, LINE, VERSION)
