"""Case files: one behaviour each, pinned from the prior state to the log line.

A file in `tests/cases` has:

- `fact`: the behaviour in one sentence; the file's name says it shorter.
- `rules`: the lines of a rules file; absent are the built-in rules.
- `prior`: what is stored before, `put` and then `closed`.
- `call`, `request`, and `unknown_field_in`: the part that gets a field nobody knows.
- `reply`, or `refusal` with the status, each of its details and the REST form.
- `log`: the line it leaves; null for a call that leaves none.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from liquidation.client.refused import LiquidationRefused, claim_answer
from liquidation.rules.errors import ANOTHER_IN_PROCESS, DUPLICATED, NOT_FOUND_IN_SERVER, TABLE
from liquidation.rules.policy import RULE_NAMES, Policy, read_policy
from liquidation.v1 import liquidation_service_pb2, rules_service_pb2
from tests.sidecars import Refused, Running, running
from tests.unit.deciding import add_unknown_field

Json = dict[str, Any]

FILES = sorted((Path(__file__).parents[1] / "cases").glob("*.json"))
CASES: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in FILES}

CHECK_CLAIM = "LiquidationRulesService.CheckClaim"

# What differs from run to run; that a line has all of them is looked at for every case.
VOLATILE = {"timestamp", "decision_id", "latency_us", "peer", "process", "worker", "seq"}

# What no request to a sound server can cause: the reason, by the row's words.
CAUSED_OTHERWISE = {
    "An unknown error occurred while processing the request.": "a fault of the service itself",
    "The api key or secret is in wrong format.": "an API key: see test_api_keys",
    "API key or secret is invalid, it may be because key have insufficient permission "
    "or the key is expired/revoked.": "an API key: see test_api_keys",
    "Rate limit exceed.": "more calls at once than the server takes",
    "Can not place/cancel orders, it may be because internal network error. "
    "Please try again in a few seconds.": "a store that does not answer",
    **{
        row.message: "a claim that is in process, or was: see test_claims"
        for row in (ANOTHER_IN_PROCESS, NOT_FOUND_IN_SERVER, DUPLICATED)
    },
}
RULES_CAUSED_OTHERWISE = {"no_claim_in_process": "a claim that is in process: see test_claims"}

_SERVICES = {
    service.name: service
    for file in (rules_service_pb2, liquidation_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def _message(call: str, request: Json) -> Message:
    service, method = call.split(".")
    input_type = _SERVICES[service].methods_by_name[method].input_type
    return ParseDict(request, message_factory.GetMessageClass(input_type)())


def _dict(message: Message | None) -> Json:
    if message is None:
        return {}
    as_dict: Json = MessageToDict(message, preserving_proto_field_name=True)
    return as_dict


async def _prepare(server: Running, prior: Json) -> int:
    """Stores what is to be there before; returns how many lines that left."""
    puts, closed = prior.get("put", []), prior.get("closed", [])
    for liquidation in puts:
        name = "LiquidationService.PutLiquidation"
        response = await server.call(name, _message(name, {"liquidation": liquidation}))
        assert response.applied
    for liquidation_id in closed:
        name = "LiquidationService.CloseLiquidation"
        await server.call(name, _message(name, {"liquidation_id": liquidation_id}))
    return len(puts) + len(closed)


def _taken(decision: Json) -> str:
    """The decision's id, taken out of it."""
    decision_id: str = decision.pop("decision_id")
    return decision_id


def _refusal(refused: Refused) -> Json:
    """All that a refusal says, as the case files write it; what is absent is left out."""
    details = refused.details
    assert details is not None
    assert (details.status.code, details.status.message) == (
        refused.grpc_code.value[0],
        refused.message,
    )
    answer = claim_answer(rules_service_pb2.CheckClaimResult(refused=details.status))
    assert isinstance(answer, LiquidationRefused)
    said = {
        "grpc_code": refused.grpc_code.name,
        "message": refused.message,
        "error_info": _dict(details.info),
        "liquidation_error": _dict(details.error),
        "bad_request": _dict(details.bad_request).get("field_violations"),
        "precondition_failure": _dict(details.precondition).get("violations"),
        "resource_info": _dict(details.resource),
        "retry_info": _dict(details.retry).get("retry_delay"),
        "rest": {"http_status": answer.http_status, "body": answer.rest_payload()},
    }
    return {name: each for name, each in said.items() if each}


async def _new_lines(server: Running, before: int) -> list[Json]:
    """The numbered lines behind those that the prior state left; the server has ended by now."""
    lines = [*await server.lines("liquidation"), *await server.lines("decision")]
    new = sorted(lines, key=lambda line: int(line["seq"]))[before:]
    assert all(line.keys() >= VOLATILE for line in new)
    return new


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_case_is_answered_and_logged_as_its_file_says(case: Json, tmp_path: Path) -> None:
    policy = read_policy("\n".join(case["rules"])) if "rules" in case else Policy()
    call = case.get("call", CHECK_CLAIM)
    request = _message(call, case["request"])
    if "unknown_field_in" in case:
        add_unknown_field(request, case["unknown_field_in"])

    async with running(tmp_path, policy) as server:
        before = await _prepare(server, case.get("prior", {}))
        reply = refusal = None
        try:
            reply = _dict(await server.call(call, request))
        except Refused as refused:
            refusal = _refusal(refused)

        answer = reply if refusal is None else refusal["liquidation_error"]
        decision_id = _taken(answer["decision"]) if answer and "decision" in answer else None
        assert reply == case.get("reply")
        assert refusal == case.get("refusal")

    lines = await _new_lines(server, before)
    assert decision_id in {None, *(line["decision_id"] for line in lines)}
    told = [{key: line[key] for key in line.keys() - VOLATILE} for line in lines]
    assert told == ([] if case["log"] is None else [case["log"]])


def _refusals() -> list[Json]:
    return [case["refusal"] for case in CASES.values() if "refusal" in case]


def test_every_rule_refuses_in_some_case() -> None:
    seen = {refusal["error_info"]["metadata"]["rule"] for refusal in _refusals()}

    assert seen | RULES_CAUSED_OTHERWISE.keys() == set(RULE_NAMES)
    assert not seen & RULES_CAUSED_OTHERWISE.keys()


def test_every_row_that_a_request_can_cause_is_caused_by_some_case() -> None:
    emitted = {row.message for row in TABLE if row.emitted}
    seen = {row.message for refusal in _refusals() for row in TABLE if _is_of(refusal, row.message)}

    assert seen | CAUSED_OTHERWISE.keys() == emitted
    assert not seen & CAUSED_OTHERWISE.keys()


def _is_of(refusal: Json, words: str) -> bool:
    """Whether a refusal has these words, with its own numbers in place of the exchange's."""
    row = next(row for row in TABLE if row.message == words)
    with suppress(KeyError):
        rendered = row.render(refusal["error_info"]["metadata"])
        code: int = refusal["liquidation_error"]["code"]
        return (code, refusal["message"]) == (row.code, rendered)
    return False


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_case_states_its_fact_and_one_outcome(case: Json) -> None:
    assert case["fact"].endswith(".")
    assert ("reply" in case) is not ("refusal" in case)
    assert "log" in case
