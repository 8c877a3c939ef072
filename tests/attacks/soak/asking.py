"""What callers ask, each with the code that is the right answer."""

import random
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import ParseDict

from liquidation.v1 import claim_service_pb2, liquidation_pb2, rules_service_pb2
from tests import samples

# Field 77, which no message of the API has.
_UNKNOWN: Final = bytes([0xE8, 0x04, 0x01])
# Ids of liquidations that are sent along and never stored.
_UNSTORED: Final = 10**12


class Ask(NamedTuple):
    """A request, the codes of which each is a right answer, and how many questions are in it."""

    rpc: str
    request: bytes = b""
    codes: tuple[int, ...] = (0,)
    items: int = 1


class Account(NamedTuple):
    """An account under liquidation that one caller alone looks after."""

    name: str
    liquidation_id: int
    revision: int = 1

    def refreshed(self) -> "Account":
        """The same with a new snapshot."""
        return self._replace(revision=self.revision + 1)

    @property
    def snapshot(self) -> liquidation_pb2.Liquidation:
        """What is put for it."""
        told = {"liquidation_id": self.liquidation_id, "account_id": self.name}
        return samples.snapshot(samples.low(**told, revision=self.revision))


def _request(chance: random.Random, **terms: Any) -> rules_service_pb2.CheckClaimRequest:
    """A check with a snapshot, of an account and by a liquidator that nobody has seen before."""
    number = _UNSTORED + chance.randrange(_UNSTORED)
    make = chance.choice((samples.low_request, samples.high_request))
    liquidation = {"liquidation_id": number, "account_id": f"unstored-{number}"}
    body = make({"liquidation_id": number, "liquidator_id": f"liquidator-{number}"}, liquidation)
    body["terms"].update(terms)
    body["explain"] = chance.random() < 0.2
    return samples.check(body)


def check(chance: random.Random) -> Ask:
    """One that is accepted."""
    return Ask("CheckClaim", _request(chance).SerializeToString())


def refused(chance: random.Random) -> Ask:
    """One that a rule refuses."""
    request, code = _refused(chance)
    return Ask("CheckClaim", request.SerializeToString(), (code,))


def _refused(chance: random.Random) -> tuple[rules_service_pb2.CheckClaimRequest, int]:
    request = _request(chance)
    code = chance.choice((-1005, -1012, -1103, -1201, -1202))
    if code == -1005:
        request.terms.extra_liquidation_ratio = "1.5"
    elif code == -1012:
        request.terms.liquidator_id = request.liquidation.account_id
    elif code == -1103:
        long = request.liquidation.positions[0]
        request.terms.limit_price[long.symbol] = "1"
    elif code == -1201:
        request.liquidation.positions[0].mark_price = "50000"
        if request.terms.symbols:
            request.terms.symbols[0].ratio_qty_request = "0.0000001"
        else:
            request.terms.ratio_qty_request = "0.0000001"
    elif chance.random() < 0.5:
        request.liquidation.margin_ratio = "0.9"
    else:
        request.ClearField("liquidation")
    return request, code


def malformed(chance: random.Random) -> Ask:
    """One that is no request: noise, a number of a wrong form, or a field that is not known."""
    request = _request(chance)
    kind = chance.randrange(3)
    if kind == 0:
        return Ask("CheckClaim", b"\xff" + chance.randbytes(chance.randrange(1, 4000)), (-1005,))
    if kind == 1:
        request.liquidation.positions[0].mark_price = "1e5"
        return Ask("CheckClaim", request.SerializeToString(), (-1005,))
    return Ask("CheckClaim", request.SerializeToString() + _UNKNOWN, (-1004,))


def batch(chance: random.Random) -> tuple[Ask, list[int]]:
    """A batch, and the codes of its items."""
    drawn = [
        (_request(chance), 0) if chance.random() < 0.5 else _refused(chance)
        for _ in range(chance.randrange(2, 20))
    ]
    request = rules_service_pb2.BatchCheckClaimsRequest(requests=[each for each, _ in drawn])
    ask = Ask("BatchCheckClaims", request.SerializeToString(), items=len(drawn))
    return ask, [code for _, code in drawn]


def stored(account: Account, code: int = 0) -> Ask:
    """A check of what is stored of an account."""
    terms = samples.low_terms(liquidation_id=account.liquidation_id)
    return Ask("CheckClaim", samples.check({"terms": terms}).SerializeToString(), (code,))


def begin(account: Account, request_id: str, lease_s: int) -> claim_service_pb2.BeginClaimRequest:
    """A claim on all of an account."""
    told = {"liquidation_id": account.liquidation_id}
    body = samples.low_request(
        told, told | {"account_id": account.name, "revision": account.revision}
    )
    named = {"request_id": request_id, "lease_ttl": f"{lease_s}s"}
    return ParseDict(body | named, claim_service_pb2.BeginClaimRequest())
