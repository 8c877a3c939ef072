"""The exchange's JSON through Envoy: understood without loss, and answered in its own form."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from liquidation.rules.errors import TABLE
from liquidation.v1 import liquidation_pb2
from tests import samples
from tests.deploy.envoys import LUA, Front, front, needs_envoy, terms

pytestmark = needs_envoy


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("envoy")) as envoy:
        yield envoy


@pytest.fixture
def opened(envoy: Front) -> int:
    """The id of a liquidation as `samples.low()`, which no other test knows."""
    return envoy.open(samples.low)


def test_an_accepted_claim_is_told_in_the_exchange_s_form(envoy: Front, opened: int) -> None:
    data = envoy.claim(terms(opened, 0.5, extra_liquidation_ratio=0)).data

    assert data["decision"]["accepted"] is True
    claim = data["claim"]
    assert claim["end_reason"] == ""
    assert claim["account_id"] == f"account-{opened}"
    assert claim["terms"]["liquidator_id"] == "liquidator-1"
    assert [(each["symbol"], each["qty"]) for each in claim["positions"]] == [
        ("PERP_BTC_USDC", "0.25"),
        ("PERP_ETH_USDC", "-2"),
    ]


def test_a_refusal_is_the_exchange_s_payload_and_nothing_else(envoy: Front, opened: int) -> None:
    refused = envoy.claim(terms(opened, 0.2))

    assert refused.status == 400
    assert refused.body == {
        "success": False,
        "code": -1201,
        "message": "least req ratio should = 0.3334",
    }
    assert refused.headers["content-type"] == "application/json"
    assert not any(name.startswith("grpc-") for name in refused.headers)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"liquidation_id": 1}, -1202),
        ({"ratio_qty_request": 1.5}, -1005),
        ({"ratio_qty_request": 1e-7}, -1005),
        ({"ratio_qty_request": {}}, -1005),
        ({"liquidation_id": 1.5}, -1005),
        ({"extra_liquidation_ratio": "0.1", "ratio_qty_request": 0.5}, -1005),
        ({"limit_price": {"PERP_BTC_USDC": 39999.5}}, -1103),
        ({"ratio": 1}, -1004),
        ({"ratioQtyRequest": 1}, -1004),
        ({"symbols": [{"symbol": "PERP_BTC_USDC", "qty": 1}]}, -1004),
        ({"liquidator_id": "liquidator-1"}, -1004),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_by_its_code(
    envoy: Front, opened: int, changes: dict[str, Any], code: int
) -> None:
    assert envoy.claim(terms(opened) | changes).refusal == (400, code)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}{}",
        "{'liquidation_id': 1}",
        "{liquidation_id: 1}",
        '{"liquidation_id": 1 2, "ratio_qty_request": 1}',
        '{"liquidation_id"',
    ],
)
def test_a_body_that_is_no_json_object_is_in_the_wrong_format(envoy: Front, body: str) -> None:
    assert envoy.claim(body).refusal == (400, -1005)


@pytest.mark.parametrize("quote", ["", '"'])
def test_no_digit_of_a_number_is_lost(envoy: Front, opened: int, quote: str) -> None:
    def asked(ratio: str) -> Any:
        body = f'{{"liquidation_id": {opened}, "ratio_qty_request": {quote}{ratio}{quote}}}'
        return envoy.claim(body, "/v1/liquidation:check")

    # A third of 30000 is 10000, the least notional. As binary fractions the two are the same.
    assert asked("0.333333333333333333").refusal == (400, -1201)
    assert asked("0.333333333333333334").data["decision"]["accepted"] is True


def test_ratios_of_symbols_and_limit_prices_may_be_numbers(envoy: Front) -> None:
    symbols = [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": 0.25}]
    body = {
        "liquidation_id": envoy.open(samples.high),
        "symbols": symbols,
        "limit_price": {"PERP_SOL_USDC": 200.00000001},
    }

    asked = envoy.claim(body).data["claim"]["terms"]

    assert asked["symbols"] == [{"symbol": "PERP_SOL_USDC", "ratio_qty_request": "0.25"}]
    assert asked["limit_price"] == {"PERP_SOL_USDC": "200.00000001"}


@pytest.mark.parametrize("header", ["idempotency_key", "x_request_id"])
def test_the_same_key_is_the_same_claim(envoy: Front, opened: int, header: str) -> None:
    key = {header: f"key {opened}&+%"}

    first = envoy.claim(terms(opened), **key).data["claim"]
    again = envoy.claim(terms(opened), **key).data["claim"]
    other_terms = envoy.claim(terms(opened, 0.5), **key)
    other_key = envoy.claim(terms(opened))

    assert first["request_id"] == key[header]
    assert again == first
    assert other_terms.refusal == (409, -1007)
    assert other_key.refusal == (400, -1012)
    assert 1 <= int(other_key.headers["retry-after"]) <= 30


def test_a_key_in_the_query_comes_before_that_of_the_header(envoy: Front, opened: int) -> None:
    path = f"/v1/liquidation?request_id=q-{opened}&lease_ttl=7s"

    claim = envoy.claim(terms(opened), path, idempotency_key="other").data["claim"]

    assert claim["request_id"] == f"q-{opened}"


def test_who_claims_is_for_the_edge_to_say(envoy: Front, opened: int) -> None:
    nobody = envoy.ask("/v1/liquidation", terms(opened))
    quoted = envoy.ask(
        "/v1/liquidation:check", terms(opened, 2), x_liquidator_id='"},"liquidator_id":"b'
    )

    assert nobody.refusal == (401, -1002)
    assert quoted.refusal == (400, -1005)
    assert quoted.body["message"] == "ratio_qty_request should be in range 0-1."


def test_the_trace_of_the_caller_is_that_of_the_log(envoy: Front, opened: int) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    envoy.claim(terms(opened), traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")

    assert envoy.line(opened)["trace_id"] == trace_id


@pytest.mark.parametrize(
    "query", ["liquidation.revision=9", "liquidator.liquidator_id=b", "explain=true", "x=1"]
)
def test_a_parameter_that_is_not_the_liquidator_s_is_refused(envoy: Front, query: str) -> None:
    assert envoy.claim(terms(1), f"/v1/liquidation?{query}").refusal == (400, -1004)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/liquidation"),
        ("PUT", "/v1/liquidation"),
        ("POST", "/v1/%6ciquidation"),
        ("POST", "/v1/liquidation/"),
        ("POST", "/v1/claims"),
        ("PUT", "/v1/liquidations/1"),
        ("GET", "/v1/claims"),
    ],
)
def test_there_is_nothing_else_over_json(envoy: Front, method: str, path: str) -> None:
    assert envoy.ask(path, {}, method).refusal == (404, -1005)


def test_a_body_that_is_too_large_is_in_the_wrong_format(envoy: Front) -> None:
    assert envoy.claim("[" * 2_000_000).refusal == (413, -1005)


@pytest.mark.parametrize("path", ["/v1/rules", "/v1/error_codes"])
def test_reading_takes_no_parameter(envoy: Front, path: str) -> None:
    assert envoy.ask(f"{path}?version=1").refusal == (400, -1004)


def test_the_table_and_the_rules_are_there_to_read(envoy: Front) -> None:
    codes = envoy.ask("/v1/error_codes").data["error_codes"]

    assert [row["message"] for row in codes] == [row.message for row in TABLE]
    assert envoy.ask("/v1/rules").data["version"] == "default"


def test_the_rows_of_the_script_are_rows_of_the_catalogue() -> None:
    written = re.findall(
        r"= row\((-\d+), (\d+), (.*?)\)\n", LUA.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    rows = {
        (int(code), int(status), "".join(re.findall(r'"([^"]*)"', words)))
        for code, status, words in written
    }

    assert len(rows) == 6
    assert rows <= {(row.code, row.kind.http_status, row.message) for row in TABLE}


def test_the_fields_of_the_script_are_those_of_the_api() -> None:
    fields = LUA.read_text(encoding="utf-8").partition("local FIELDS = {")[2].partition("\n}\n")[0]
    of_terms, of_symbols = (set(re.findall(r'"(\w+)"', part)) for part in fields.split("symbols ="))

    known = {field.name for field in liquidation_pb2.ClaimTerms.DESCRIPTOR.fields}
    assert of_terms | {"liquidator_id"} == known
    assert of_symbols == {field.name for field in liquidation_pb2.SymbolRatio.DESCRIPTOR.fields}
