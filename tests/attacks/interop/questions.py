"""What every client asks, and what it must be told: the case files, and claims, keys, batches.

`tests/cases` was written by hand; of it all is asked that needs no rules and no state of its own.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import grpc

from tests import samples
from tests.service.test_cases import CASES

Json = dict[str, Any]

# The field of ClaimTerms that clients know and the server does not; the case files know it too.
NEW_FIELD: Final = ("a_field_to_come", 625)
# One of each kind, for clients that take a process a question.
FEW: Final = frozenset(
    {
        "whole_low_liquidation_is_accepted",
        "ratio_with_an_exponent_is_refused",
        "ratio_below_threshold_is_refused",
        "liquidator_with_too_little_margin_is_refused",
        "unknown_field_in_the_terms_is_refused",
        "unknown_liquidation_cannot_be_got",
    }
)

_API: Final = "liquidation.v1"
_CHECK: Final = "LiquidationRulesService.CheckClaim"
_CHANGES_NOTHING: Final = {_CHECK, "LiquidationService.GetLiquidation"}
_TYPES: Final = "type.googleapis.com"


@dataclass(frozen=True)
class Question:
    """A call with all its requests, and the status and the answers that it gets.

    `key` names the API key that goes with it. `newer` tells that only a client whose schema is
    ahead of the server's can ask it.
    """

    name: str
    method: str
    requests: list[Json]
    status: Json
    answers: list[Json]
    key: str = "admin"
    newer: bool = False


def questions(number: int) -> list[Question]:
    """All questions, in the order to ask them; the claims are on liquidation `number`."""
    return [*_of_cases(), *_of_claims(number), *_of_keys(), _batch(), _stream()]


def held_up() -> Question:
    """What is told while as many calls are in progress as the server takes."""
    refused = _refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        _error(
            -1003,
            "TOO_MANY_REQUEST",
            "Rate limit exceed.",
            429,
            decision={"rules_version": "default"},
        ),
        _detail("google.rpc.RetryInfo", retry_delay="1s"),
    )
    (asked,) = (each for each in _of_cases() if each.name == "whole_low_liquidation_is_accepted")
    return Question("one call too many", asked.method, asked.requests, refused, [])


def _of_cases() -> list[Question]:
    return [
        Question(
            name,
            _method(case.get("call", _CHECK)),
            [_request(case)],
            _status(case["refusal"]) if "refusal" in case else {},
            [case["reply"]] if "reply" in case else [],
            newer="unknown_field_in" in case,
        )
        for name, case in CASES.items()
        if case.get("call", _CHECK) in _CHANGES_NOTHING
        and not case.keys() & {"prior", "rules"}
        and case.get("unknown_field_in", "terms") == "terms"
    ]


def _method(call: str) -> str:
    return f"{_API}.{call.replace('.', '/')}"


def _request(case: Json) -> Json:
    request: Json = json.loads(json.dumps(case["request"]))
    if "unknown_field_in" in case:
        request[case["unknown_field_in"]][NEW_FIELD[0]] = "spot"
    return request


def _status(refusal: Json) -> Json:
    """The refusal of a case file as google.rpc.Status."""
    others = {
        "bad_request": ("google.rpc.BadRequest", "field_violations"),
        "precondition_failure": ("google.rpc.PreconditionFailure", "violations"),
        "retry_info": ("google.rpc.RetryInfo", "retry_delay"),
    }
    details = [
        _detail("google.rpc.ErrorInfo", **refusal["error_info"]),
        _detail(f"{_API}.LiquidationError", **refusal["liquidation_error"]),
        *(
            _detail(kind, **{field: refusal[name]})
            for name, (kind, field) in others.items()
            if name in refusal
        ),
    ]
    if "resource_info" in refusal:
        details.append(_detail("google.rpc.ResourceInfo", **refusal["resource_info"]))
    code = grpc.StatusCode[refusal["grpc_code"]].value[0]
    return {"code": code, "message": refusal["message"], "details": details}


def _detail(kind: str, **fields: Any) -> Json:
    return {"@type": f"{_TYPES}/{kind}", **fields}


def _error(code: int, name: str, message: str, http_status: int, **decision: Any) -> Json:
    fields = {"code": code, "name": name, "message": message, "http_status": http_status}
    return fields | decision


def _refusal(grpc_code: grpc.StatusCode, error: Json, *others: Json, **numbers: str) -> Json:
    """A refusal that no case file has; `numbers` are further metadata."""
    decided_by = error.get("decision", {}).get("rule", "")
    metadata = {"code": str(error["code"]), "http_status": str(error["http_status"])}
    details = [
        _detail(
            "google.rpc.ErrorInfo",
            reason=error["name"],
            domain=_API,
            metadata=metadata | {"rule": decided_by} | numbers,
        ),
        _detail(f"{_API}.LiquidationError", **error),
        *others,
    ]
    return {"code": grpc_code.value[0], "message": error["message"], "details": details}


def _of_claims(number: int) -> list[Question]:
    """An account's one claim slot: taken, taken already, and asked for by a used name."""
    snapshot = samples.low(liquidation_id=str(number), account_id=f"account-{number}")
    # Each JSON library has its own form of a time; it has no part in what is asked here.
    del snapshot["snapshot_time"]
    terms = samples.low_terms(liquidation_id=str(number))
    request_id = f"request-{number}"
    begin = {"request_id": request_id, "terms": terms, "liquidation": snapshot}
    method = f"{_API}.ClaimService/BeginClaim"
    whole = CASES["whole_low_liquidation_is_accepted"]["reply"]
    claim = {
        "request_id": request_id,
        "account_id": snapshot["account_id"],
        "terms": terms | {"extra_liquidation_ratio": "0"},
        "liquidation_revision": "7",
        "state": "CLAIM_STATE_ACTIVE",
        "positions": whole["positions"],
    }
    decision = {key: each for key, each in whole["decision"].items() if key != "accepted"}
    taken = _error(
        -1012,
        "RPC_REJECT",
        "Another liquidation is in process",
        400,
        decision=decision | {"rule": "no_claim_in_process"},
    )
    used = _error(
        -1007,
        "DUPLICATE_REQUEST",
        "The data is already exists or your request is duplicated.",
        409,
        decision={"rule": "request_id_unused", "rules_version": "default"},
    )
    return [
        Question(
            "a claim that is granted",
            method,
            [begin],
            {},
            [{"claim": claim, "decision": whole["decision"]}],
        ),
        Question(
            "another claim on the account",
            method,
            [begin | {"request_id": f"another-{number}"}],
            _refusal(
                grpc.StatusCode.ABORTED,
                taken,
                _detail("google.rpc.RetryInfo", retry_delay="up to 30s"),
            ),
            [],
        ),
        Question(
            "a request_id used before",
            method,
            [begin | {"terms": terms | {"ratio_qty_request": "0.5"}}],
            _refusal(grpc.StatusCode.ALREADY_EXISTS, used, request_id=request_id),
            [],
        ),
    ]


def _of_keys() -> list[Question]:
    words = (
        "API key or secret is invalid, it may be because key have insufficient permission "
        "or the key is expired/revoked."
    )
    error = _error(-1002, "UNAUTHORIZED", words, 401)
    unknown, denied = (
        _refusal(code, error)
        for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    )
    get = f"{_API}.ClaimService/GetClaim"
    return [
        Question("a call without a key", get, [{"claim_id": "none"}], unknown, [], key=""),
        Question("a key for checks alone", get, [{"claim_id": "none"}], denied, [], key="check"),
    ]


def _mixed() -> tuple[list[Json], list[Json]]:
    """Requests, and the result of each as an item."""
    asked = [
        each
        for each in _of_cases()
        if each.name in FEW and not each.newer and "Check" in each.method
    ]
    results = [
        {"refused": each.status} if each.status else {"accepted": each.answers[0]} for each in asked
    ]
    return [each.requests[0] for each in asked], results


def _batch() -> Question:
    requests, results = _mixed()
    method = f"{_API}.LiquidationRulesService/BatchCheckClaims"
    return Question(
        "a batch with mixed items", method, [{"requests": requests}], {}, [{"results": results}]
    )


def _stream() -> Question:
    requests, results = _mixed()
    return Question(
        "a stream with mixed items",
        f"{_API}.LiquidationRulesService/StreamCheckClaims",
        [
            {"correlation_id": f"item-{place}", "request": each}
            for place, each in enumerate(requests)
        ],
        {},
        [{"correlation_id": f"item-{place}", "result": each} for place, each in enumerate(results)],
    )
