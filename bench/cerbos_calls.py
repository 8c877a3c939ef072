"""The same question for Cerbos: `CheckResources` on one liquidation.

Cerbos has no store, so the request holds what the policy in `bench/cerbos` needs. The messages are
cerbos.request.v1.CheckResourcesRequest and its parts, written field by field: there is no package
with their Python classes among the project's own.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

from google.protobuf.struct_pb2 import Value

from bench.scenarios import ACCEPTED, REFUSED, REFUSED_CODE, Scenario

__all__ = ["SCENARIOS", "code_in"]

_CALL: Final = "/cerbos.svc.v1.CerbosService/CheckResources"
# CheckResourcesResponse.ResultEntry.actions {"claim": EFFECT_ALLOW or EFFECT_DENY}
_EFFECT: Final = b"\x0a\x05claim\x10"
_ALLOW, _DENY = b"\x01", b"\x02"
_DECISION: Final = re.compile(rb'.*"log.kind":"decision".*"effect":"EFFECT_(ALLOW|DENY)"')


def _field(number: int, value: str | bytes) -> bytes:
    """A field of wire type 2, with up to 16,383 bytes."""
    data = value.encode() if isinstance(value, str) else value
    low, high = len(data) & 0x7F, len(data) >> 7
    length = bytes([low | 0x80, high]) if high else bytes([low])
    return bytes([number << 3 | 2]) + length + data


def _request(ratio: str) -> bytes:
    numbers = {
        "ratio_qty_request": float(ratio),
        "total_notional": 30_000.0,
        "margin_ratio": 0.008,
        "maintenance_margin_ratio": 0.012,
    }
    attributes = b"".join(
        _field(4, _field(1, name) + _field(2, Value(number_value=number).SerializeToString()))
        for name, number in numbers.items()
    )
    principal = _field(1, "liquidator-1") + _field(3, "liquidator")
    resource = _field(1, "liquidation") + _field(3, "1") + attributes
    return _field(3, principal) + _field(4, _field(1, "claim") + _field(2, resource))


def _scenario(ratio: str, effect: bytes, code: int = 0) -> Scenario:
    return Scenario(
        _CALL, partial(_request, ratio), lambda answer: _EFFECT + effect in answer, code
    )


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "accepted": _scenario(ACCEPTED, _ALLOW),
    # A refusal is an ordinary answer there.
    "refused": _scenario(REFUSED, _DENY, REFUSED_CODE),
}


def code_in(line: bytes) -> int | None:
    """The code that a line of the audit log stands for; None when it is no decision."""
    found = _DECISION.match(line)
    if found is None:
        return None
    return 0 if found[1] == b"ALLOW" else REFUSED_CODE
