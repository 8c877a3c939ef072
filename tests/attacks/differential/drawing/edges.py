"""Lanes of what no client should send, and of calls that see everything that is stored."""

from random import Random
from typing import Any, Final

from google.protobuf.message import Message

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests.attacks.differential.calls import METHODS, Call, Fill, Lane, path_of
from tests.attacks.differential.drawing.lanes import call, plain_begin
from tests.attacks.differential.drawing.malformed import bytes_of_no_message
from tests.attacks.oracle.worlds import Subject

_CHECK: Final = path_of("LiquidationRulesService.CheckClaim")
_BATCH: Final = path_of("LiquidationRulesService.BatchCheckClaims")
_PUTS: Final = path_of("LiquidationService.BatchPutLiquidations")
_NOT_A_MESSAGE: Final = (
    b"",
    b"\xff\xff\xff",
    b"\x08",
    b"\x0a\x05ab",
    b"\x0a\x02\xff\xfe",
    b"\x00",
    b"\x0b\x0c",
    b"\xf8\x7f\x01",
    b"\xfa\x7f\x03abc" * 12,
    b"\x0a\x00",
    b"\x12\x00",
    b"\x0d\x01\x02\x03\x04",
    b"\x80" * 11,
)
_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVICES: Final = ("LiquidationRulesService", "LiquidationService", "ClaimService", "Nothing")


def _health() -> list[Call]:
    names = ["", *(f"liquidation.v1.{each}" for each in _SERVICES)]
    checks = [b"\x0a" + bytes([len(each)]) + each.encode() if each else b"" for each in names]
    return [Call(f"{_HEALTH}Check", (each,)) for each in checks]


def all_methods_lane(random: Random) -> Lane:
    """Every method with bytes of no message and with changed messages, and a few strangers."""
    calls = [
        Call(path, (data,))
        for path, method in METHODS.items()
        for data in _NOT_A_MESSAGE
        if not method.streams
    ]
    calls += [Call(path, _NOT_A_MESSAGE) for path, method in METHODS.items() if method.streams]
    calls += [Call(path, ()) for path, method in METHODS.items() if method.streams]
    calls += [
        Call(f"/{path}", (b"",))
        for path in (
            "liquidation.v1.LiquidationRulesService/Nothing",
            "liquidation.v1.Nothing/CheckClaim",
            "liquidation.v2.ClaimService/GetClaim",
            "nothing",
        )
    ]
    subject = Subject("account-edges", 77_000, 1, None)
    begin = plain_begin(subject, 1, "edges").SerializeToString()
    for _ in range(60):
        calls.append(
            Call(path_of("ClaimService.BeginClaim"), (bytes_of_no_message(random, begin),))
        )
        path = random.choice(list(METHODS))
        if not METHODS[path].streams:
            calls.append(Call(path, (bytes_of_no_message(random, begin),)))
    untraced = [Call(each.path, each.messages, traced=False) for each in calls[:40]]
    odd = (("traceparent", "00-xyz-1-01"), ("x-other", "1"), ("traceparent", f"00-{'z' * 32}-1-01"))
    # The fills count from the first call of the lane.
    calls = [*_default_lease(), *calls]
    return Lane(
        [
            *([each] for each in (*calls, *untraced, *_health())),
            *([Call(_CHECK, (b"",), metadata=(pair,), traced=False)] for pair in odd),
        ],
        alone=True,
    )


def _check_of(begin: Any) -> rules_service_pb2.CheckClaimRequest:
    return rules_service_pb2.CheckClaimRequest(terms=begin.terms, liquidation=begin.liquidation)


def _default_lease() -> list[Call]:
    """A claim whose leases are those of the rules in force; it is over at once."""
    begin: Any = plain_begin(Subject("account-lease", 83_000, 1, None), 1, "lease")
    begin.ClearField("lease_ttl")
    fills = (Fill("claim_id", 0), Fill("fencing_token", 0))
    return [
        call("ClaimService.BeginClaim", begin),
        call("ClaimService.RenewClaim", claim_service_pb2.RenewClaimRequest(), *fills),
        call("ClaimService.CancelClaim", claim_service_pb2.CancelClaimRequest(), *fills),
    ]


def batches_lane(most: int) -> Lane:
    """Batches with nothing, with one and with `most` requests, and with more than there may be."""
    subject = Subject("account-batches", 78_000, 1, None)
    begin = plain_begin(subject, 1, "batches")
    check = _check_of(begin)
    put = liquidation_service_pb2.PutLiquidationRequest(liquidation=check.liquidation)
    calls = []
    for size in (0, 1, most, 1001):
        checks = rules_service_pb2.BatchCheckClaimsRequest(requests=[check] * size)
        puts = liquidation_service_pb2.BatchPutLiquidationsRequest(requests=[put] * size)
        calls.append(Call(_BATCH, (checks.SerializeToString(),), requests=max(1, size)))
        calls.append(Call(_PUTS, (puts.SerializeToString(),), requests=max(1, size)))
    items = [
        rules_service_pb2.StreamCheckClaimsRequest(correlation_id=str(index), request=check)
        for index in range(100)
    ]
    stream = tuple(each.SerializeToString() for each in items)
    path = path_of("LiquidationRulesService.StreamCheckClaims")
    calls.append(Call(path, stream, requests=len(stream)))
    return Lane([[each] for each in calls], alone=True)


def paging_lane() -> Lane:
    """All that is stored, in pages: it runs while nothing else does, for its order."""
    subjects = [
        Subject(f"account-pages-{index}", 79_000 + 10 * index, 1, None) for index in range(7)
    ]
    calls = [call("ClaimService.BeginClaim", plain_begin(each, 1, "pages")) for each in subjects]
    for size in (2, 3, 1000):
        for step in range(4):
            fills = (Fill("page_token", len(calls) - 2),) if step else ()
            claims = claim_service_pb2.ListClaimsRequest(page_size=size)
            liquidations = liquidation_service_pb2.ListLiquidationsRequest(page_size=size)
            calls.append(call("ClaimService.ListClaims", claims, *fills))
            calls.append(call("LiquidationService.ListLiquidations", liquidations, *fills))
    crossed = Fill("page_token", 7)
    other = liquidation_service_pb2.ListLiquidationsRequest(page_size=2)
    calls.append(call("LiquidationService.ListLiquidations", other, crossed))
    return Lane([[each] for each in calls], alone=True)


def oversize_lane(most: int, *, transport: int = 0) -> Lane:
    """Requests at and above `most` bytes, and above what gRPC takes, if that is told."""
    calls = []
    for path, method in METHODS.items():
        for size in (most, most + 1):
            calls.append(Call(path, (b"",), padding=size))
            if method.streams:
                calls.append(Call(path, (b"", b"")))
        if transport:
            calls.append(Call(path, (b"",), padding=transport + 1))
    begin = plain_begin(Subject("account-size", 80_000, 1, None), 1, "size")
    calls += [_of_size(begin, most), _of_size(begin, most + 1)]
    return Lane([[each] for each in calls], alone=True)


def rate_lane() -> Lane:
    """More claims of one liquidator than may come at once, in one batch."""
    check = _check_of(plain_begin(Subject("account-rate", 82_000, 1, None), 1, "rate"))
    batch = rules_service_pb2.BatchCheckClaimsRequest(requests=[check] * 8)
    return Lane([[Call(_BATCH, (batch.SerializeToString(),), requests=8)]], alone=True)


def _of_size(begin: Message, size: int) -> Call:
    """A BeginClaim of just so many bytes: its liquidator's id fills it up."""
    sized = claim_service_pb2.BeginClaimRequest.FromString(begin.SerializeToString())
    while (missing := size - sized.ByteSize()) > 0:
        sized.terms.liquidator_id += "l" * max(1, missing - 4)
    return call("ClaimService.BeginClaim", sized)


def keys_lane(names: list[str]) -> Lane:
    """Every method with every key, and with what is no key."""
    texts = [f"Bearer {{key:{name}}}" for name in names]
    texts += ["", "Bearer", "Bearer ", "bearer {key:admin}", "Basic {key:admin}", "{key:admin}"]
    texts += ["Bearer {key:admin} ", "Bearer {key:admin}x", "Bearer x", f"Bearer {'a' * 300}"]
    authorizations: list[tuple[tuple[str, str], ...]] = [
        (("authorization", each),) for each in texts
    ]
    authorizations += [(), authorizations[0] * 2]
    subject = Subject("account-keys", 81_000, 1, None)
    begin = plain_begin(subject, 1, "keys").SerializeToString()
    cancel = claim_service_pb2.CancelClaimRequest(claim_id="none", force=True).SerializeToString()
    bodies = {
        path_of("ClaimService.BeginClaim"): begin,
        path_of("ClaimService.CancelClaim"): cancel,
    }
    calls = [
        Call(path, (bodies.get(path, b""),), metadata=metadata)
        for metadata in authorizations
        for path in METHODS
    ]
    health = [Call(f"{_HEALTH}Check", (b"",), metadata=pairs) for pairs in authorizations[:3]]
    return Lane([[each] for each in (*calls, *health)], alone=True)
