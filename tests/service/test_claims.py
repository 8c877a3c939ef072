"""ClaimService: one claim in progress an account, as a risk backend sees it."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from liquidation.v1 import claim_service_pb2 as pb
from liquidation.v1 import liquidation_service_pb2
from tests import samples
from tests.sidecars import Refused, Running

# Rounds of the race below; the long form takes 1000.
ROUNDS = int(os.environ.get("LIQUIDATION_ROUNDS", "20"))


class Claims:
    """ClaimService of a server, by its calls."""

    def __init__(self, server: Running) -> None:
        self.server = server

    async def begin(
        self, request_id: str = "r-1", lease: str | None = None, **request: Any
    ) -> pb.BeginClaimResponse:
        message = begin_request(request_id, lease, **request)
        response: pb.BeginClaimResponse = await self.server.call("ClaimService.BeginClaim", message)
        return response

    async def renew(self, claim: pb.Claim, lease: str | None = None, **changes: Any) -> pb.Claim:
        fields = token_of(claim) | ({"lease_ttl": lease} if lease else {}) | changes
        return await self._change("RenewClaim", ParseDict(fields, pb.RenewClaimRequest()))

    async def complete(self, claim: pb.Claim, **changes: Any) -> pb.Claim:
        fields = token_of(claim) | changes
        return await self._change("CompleteClaim", ParseDict(fields, pb.CompleteClaimRequest()))

    async def cancel(self, claim: pb.Claim, **changes: Any) -> pb.Claim:
        fields = token_of(claim) | changes
        return await self._change("CancelClaim", ParseDict(fields, pb.CancelClaimRequest()))

    async def get(self, **request: Any) -> pb.GetClaimResponse:
        response: pb.GetClaimResponse = await self.server.call(
            "ClaimService.GetClaim", pb.GetClaimRequest(**request)
        )
        return response

    async def page(self, **request: Any) -> pb.ListClaimsResponse:
        response: pb.ListClaimsResponse = await self.server.call(
            "ClaimService.ListClaims", pb.ListClaimsRequest(**request)
        )
        return response

    async def _change(self, method: str, request: Any) -> pb.Claim:
        response = await self.server.call(f"ClaimService.{method}", request)
        claim: pb.Claim = response.claim
        return claim


def begin_request(
    request_id: str = "r-1", lease: str | None = None, **request: Any
) -> pb.BeginClaimRequest:
    body = samples.low_request(**request) | {"request_id": request_id}
    return ParseDict(body | ({"lease_ttl": lease} if lease else {}), pb.BeginClaimRequest())


def token_of(claim: pb.Claim) -> dict[str, Any]:
    return {"claim_id": claim.claim_id, "fencing_token": claim.fencing_token}


@pytest.fixture
def claims(server: Running) -> Claims:
    return Claims(server)


async def refused(call: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        await call
    return raised.value


async def test_a_claim_is_granted_with_what_it_takes_and_its_decision(claims: Claims) -> None:
    response = await claims.begin(terms={"extra_liquidation_ratio": "0.05"})

    claim = response.claim
    assert (claim.state, claim.account_id, claim.request_id) == (
        pb.CLAIM_STATE_ACTIVE,
        "account-low",
        "r-1",
    )
    assert [(each.symbol, each.max_qty) for each in claim.positions] == [
        ("PERP_BTC_USDC", "0.525"),
        ("PERP_ETH_USDC", "-4.2"),
    ]
    assert claim.liquidation_revision == 7
    assert response.decision.accepted
    assert response.decision.total_notional == samples.LOW_NOTIONAL
    assert claim.expire_time.ToMicroseconds() - claim.begin_time.ToMicroseconds() == 30_000_000


async def test_the_rules_refuse_a_claim_as_they_refuse_a_check(claims: Claims) -> None:
    terms = {"ratio_qty_request": "0.1"}

    begun = await refused(claims.begin(terms=terms))
    checked = await claims.server.refused(samples.check(samples.low_request(terms)))

    assert begun.message == checked.message == "least req ratio should = 0.3334"
    assert begun.details is not None
    assert checked.details is not None
    assert begun.details.info == checked.details.info
    assert begun.details.error.decision.total_notional == samples.LOW_NOTIONAL


async def test_while_a_claim_is_active_no_other_is_and_a_check_says_so(claims: Claims) -> None:
    first = await claims.begin("r-1")

    for answer in (
        await refused(claims.begin("r-2")),
        await claims.server.refused(samples.check(samples.low_request())),
    ):
        assert (answer.code, answer.grpc_code) == (-1012, grpc.StatusCode.ABORTED)
        assert answer.message == "Another liquidation is in process"
        assert answer.details is not None
        assert 0 < answer.details.retry.retry_delay.ToMilliseconds() <= 30_000
        assert answer.details.info.metadata["claim_id"] == first.claim.claim_id
    await claims.cancel(first.claim)
    assert (await claims.begin("r-3")).claim.fencing_token > first.claim.fencing_token


async def test_another_claim_in_process_is_told_before_what_else_is_wrong(claims: Claims) -> None:
    await claims.begin("r-1")

    answer = await refused(claims.begin("r-2", terms={"ratio_qty_request": "0.1"}))

    assert answer.code == -1012


async def test_64_at_once_on_one_account_one_wins_and_63_are_told_to_wait(claims: Claims) -> None:
    for round_ in range(ROUNDS):
        outcomes = await asyncio.gather(
            *(claims.begin(f"{round_}-{each}") for each in range(64)), return_exceptions=True
        )

        (won,) = (each for each in outcomes if isinstance(each, pb.BeginClaimResponse))
        lost = [each for each in outcomes if isinstance(each, Refused)]
        assert [each.code for each in lost] == [-1012] * 63
        assert all(each.details is not None and each.details.retry for each in lost)
        await claims.cancel(won.claim)


async def test_the_same_request_64_times_at_once_is_one_claim_and_64_equal_answers(
    claims: Claims,
) -> None:
    answers = await asyncio.gather(*(claims.begin("r-1") for _ in range(64)))

    assert all(answer == answers[0] for answer in answers)
    lines = await claims.server.lines("claim", count=64)
    assert sum(not line["known"] for line in lines) == 1


async def test_the_same_request_with_terms_written_otherwise_is_the_same(claims: Claims) -> None:
    first = await claims.begin("r-1", terms={"ratio_qty_request": "1"})

    again = await claims.begin(
        "r-1", terms={"ratio_qty_request": "1.000", "extra_liquidation_ratio": "-0"}
    )

    assert again == first


async def test_the_same_request_with_other_terms_is_a_duplicate(claims: Claims) -> None:
    await claims.begin("r-1")

    answer = await refused(claims.begin("r-1", terms={"ratio_qty_request": "0.9"}))

    assert (answer.code, answer.grpc_code) == (-1007, grpc.StatusCode.ALREADY_EXISTS)
    assert answer.message == "The data is already exists or your request is duplicated."


async def test_a_refusal_is_not_remembered(claims: Claims) -> None:
    await refused(claims.begin("r-1", terms={"ratio_qty_request": "0.1"}))

    assert (await claims.begin("r-1", terms={"ratio_qty_request": "0.5"})).claim.request_id == "r-1"


async def test_a_completed_claim_waits_for_a_newer_snapshot(claims: Claims) -> None:
    first = await claims.begin("r-1")
    done = await claims.complete(first.claim)
    assert done.state == pb.CLAIM_STATE_COMPLETED
    assert done.end_time.ToMicroseconds() >= done.begin_time.ToMicroseconds()

    answer = await refused(claims.begin("r-2"))
    fresh = await claims.begin("r-2", liquidation={"revision": 8})

    assert answer.code == -1012
    assert answer.details is not None
    assert answer.details.retry.retry_delay.ToSeconds() == 1
    assert fresh.claim.liquidation_revision == 8


async def test_completing_and_cancelling_again_changes_nothing(claims: Claims) -> None:
    completed = (await claims.begin("r-1")).claim
    done = await claims.complete(completed)
    cancelled = (await claims.begin("r-2", liquidation={"revision": 8})).claim
    gone = await claims.cancel(cancelled, reason="no cover")

    assert await claims.complete(completed) == done
    assert await claims.cancel(cancelled, reason="another") == gone
    assert gone.end_reason == "no cover"


async def test_complete_after_cancel_and_cancel_after_complete_are_refused(claims: Claims) -> None:
    completed = (await claims.begin("r-1")).claim
    await claims.complete(completed)
    cancelled = (await claims.begin("r-2", liquidation={"revision": 8})).claim
    await claims.cancel(cancelled)

    for call in (claims.cancel(completed), claims.complete(cancelled), claims.renew(completed)):
        answer = await refused(call)
        assert (answer.code, answer.grpc_code) == (-1202, grpc.StatusCode.FAILED_PRECONDITION)


async def test_another_fencing_token_is_refused(claims: Claims) -> None:
    claim = (await claims.begin("r-1")).claim

    for call in (claims.renew, claims.complete, claims.cancel):
        answer = await refused(call(claim, fencing_token=claim.fencing_token + 1))
        assert answer.code == -1202
        assert answer.message == "The fencing token is not that of the claim."


async def test_a_claim_that_is_not_known_is_not_found(claims: Claims) -> None:
    nobody = pb.Claim(claim_id="nobody", fencing_token=1)

    for call in (
        claims.renew(nobody),
        claims.complete(nobody),
        claims.cancel(nobody),
        claims.cancel(nobody, force=True),
        claims.get(claim_id="nobody"),
        claims.get(request_id="nobody"),
    ):
        answer = await refused(call)
        assert (answer.code, answer.grpc_code) == (-1006, grpc.StatusCode.NOT_FOUND)
        assert answer.details is not None
        assert answer.details.resource.resource_name == "nobody"


async def test_an_operator_cancels_without_token_and_it_is_logged_as_such(claims: Claims) -> None:
    claim = (await claims.begin("r-1")).claim

    gone = await claims.cancel(claim, fencing_token=0, force=True, reason="backend is down")

    assert gone.state == pb.CLAIM_STATE_CANCELLED
    (_, line) = await claims.server.lines("claim", count=2)
    assert (line["change"], line["request"]["force"]) == ("cancel", True)
    history = (await claims.get(request_id="r-1")).history
    assert [(each.change, each.forced) for each in history] == [("begin", False), ("cancel", True)]


async def test_a_lease_that_ran_out_frees_the_account_and_leaves_its_line(claims: Claims) -> None:
    claim = (await claims.begin("r-1", lease="1s")).claim

    lines = await claims.server.lines("claim", count=2)

    assert (lines[1]["change"], lines[1]["claim_id"], lines[1]["state"]) == (
        "expire",
        claim.claim_id,
        "EXPIRED",
    )
    late = await refused(claims.complete(claim))
    assert (late.code, late.message) == (-1202, "The claim is not active: it is expired.")
    assert (await claims.begin("r-2")).claim.fencing_token > claim.fencing_token
    assert (await claims.begin("r-1")).claim.state == pb.CLAIM_STATE_EXPIRED


@pytest.mark.parametrize("lease", ["0s", "0.999999999s", "300.000000001s", "-5s", "301s"], ids=str)
async def test_a_lease_out_of_bounds_is_malformed(claims: Claims, lease: str) -> None:
    answer = await refused(claims.begin("r-1", lease))

    assert answer.code == -1005
    assert answer.details is not None
    (violation,) = answer.details.bad_request.field_violations
    assert violation.field == "lease_ttl"
    claim = (await claims.begin("r-2")).claim
    assert (await refused(claims.renew(claim, lease))).code == -1005


@pytest.mark.parametrize("lease", ["1s", "300s"])
async def test_a_lease_at_its_bounds_is_granted(claims: Claims, lease: str) -> None:
    claim = (await claims.begin("r-1", lease)).claim

    seconds = int(lease.removesuffix("s"))
    length_us = claim.expire_time.ToMicroseconds() - claim.begin_time.ToMicroseconds()
    assert length_us == seconds * 1_000_000


@pytest.mark.parametrize("request_id", ["", "x" * 65, "ä", "a\nb"], ids=repr)
async def test_a_request_id_that_is_none_is_malformed(claims: Claims, request_id: str) -> None:
    answer = await refused(claims.begin(request_id))

    assert answer.code == -1005
    assert answer.details is not None
    assert answer.details.bad_request.field_violations[0].field == "request_id"


async def test_garbage_and_unknown_fields_are_refused_and_leave_their_lines(
    claims: Claims,
) -> None:
    unknown = begin_request().SerializeToString() + bytes([0xE8, 0x04, 0x01])

    garbage = await refused(claims.server.raw("ClaimService.BeginClaim", b"\xff"))
    strange = await refused(claims.server.raw("ClaimService.BeginClaim", unknown))

    assert (garbage.code, strange.code) == (-1005, -1004)
    lines = await claims.server.lines("claim", count=2)
    assert [(line["code"], line["rpc"]) for line in lines] == [
        (-1005, "BeginClaim"),
        (-1004, "BeginClaim"),
    ]
    for method in ("RenewClaim", "CompleteClaim", "CancelClaim", "GetClaim", "ListClaims"):
        assert (await refused(claims.server.raw(f"ClaimService.{method}", b"\xff"))).code == -1005


async def test_a_liquidation_is_not_closed_while_a_claim_on_it_is_active(claims: Claims) -> None:
    claim = (await claims.begin("r-1")).claim
    close = liquidation_service_pb2.CloseLiquidationRequest(liquidation_id=101)

    answer = await claims.server.refused(close, "LiquidationService.CloseLiquidation")

    assert answer.code == -1012
    assert answer.details is not None
    assert answer.details.retry.retry_delay.ToMilliseconds() > 0
    await claims.complete(claim)
    await claims.server.call("LiquidationService.CloseLiquidation", close)
    assert (await refused(claims.begin("r-2", liquidation={"revision": 9}))).code == -1202


async def test_claims_are_listed_in_pages_newest_first(claims: Claims) -> None:
    for each in range(5):
        claim = (await claims.begin(f"r-{each}")).claim
        await claims.cancel(claim)
    await claims.begin("r-5")

    first = await claims.page(page_size=4)
    rest = await claims.page(page_size=4, page_token=first.next_page_token)

    listed = [claim.request_id for page in (first, rest) for claim in page.claims]
    assert listed == ["r-5", "r-4", "r-3", "r-2", "r-1", "r-0"]
    assert rest.next_page_token == ""
    active = await claims.page(state=pb.CLAIM_STATE_ACTIVE, account_id="account-low")
    assert [claim.request_id for claim in active.claims] == ["r-5"]
    assert not (await claims.page(liquidation_id=999)).claims


@pytest.mark.parametrize(
    "ask",
    [
        lambda claims: claims.get(),
        lambda claims: claims.get(claim_id="c", request_id="r"),
        lambda claims: claims.page(page_size=1001),
        lambda claims: claims.page(page_token="guess"),
        lambda claims: claims.page(state=9),
        lambda claims: claims.page(liquidation_id=-1),
        lambda claims: claims.page(account_id="a\0"),
        lambda claims: claims.cancel(pb.Claim(claim_id="c"), reason="x" * 257),
        lambda claims: claims.cancel(pb.Claim(claim_id="c"), reason="a\0b"),
        lambda claims: claims.complete(pb.Claim(claim_id="")),
    ],
    ids=[
        "no id",
        "two ids",
        "size",
        "token",
        "state",
        "liquidation",
        "account",
        "reason",
        "reason with NUL",
        "empty id",
    ],
)
async def test_a_call_that_cannot_be_is_malformed(
    claims: Claims, ask: Callable[[Claims], Any]
) -> None:
    assert (await refused(ask(claims))).code == -1005


async def test_every_change_leaves_one_line_with_the_claim_as_it_stands(claims: Claims) -> None:
    claim = (await claims.begin("r-1")).claim
    await claims.renew(claim, "60s")
    await refused(claims.complete(claim, fencing_token=99))
    await claims.complete(claim)

    lines = await claims.server.lines("claim", count=4)

    told = [(each["change"], each["code"], each["state"]) for each in lines]
    assert told == [
        ("begin", 0, "ACTIVE"),
        ("renew", 0, "ACTIVE"),
        ("complete", -1202, "ACTIVE"),
        ("complete", 0, "COMPLETED"),
    ]
    assert {each["claim_id"] for each in lines} == {claim.claim_id}
    assert {each["fencing_token"] for each in lines} == {claim.fencing_token}
    assert {each["liquidator_id"] for each in lines} == {"liquidator-1"}
    assert lines[0]["request"]["liquidation"]["revision"] == "7"


@pytest.mark.parametrize("field", ["claim_id", "request_id"])
async def test_an_id_of_any_length_gets_an_answer_that_keeps_its_code(
    claims: Claims, field: str
) -> None:
    answer = await refused(claims.get(**{field: "x" * 20_000}))

    assert answer.code == -1005


async def test_what_was_done_before_is_told_as_known(claims: Claims) -> None:
    claim = (await claims.begin("r-1", lease="2.5s")).claim
    await claims.begin("r-1", lease="2.5s")
    await claims.complete(claim)
    await claims.complete(claim)

    lines = await claims.server.lines("claim", count=4)

    assert [(line["change"], line["known"]) for line in lines] == [
        ("begin", False),
        ("begin", True),
        ("complete", False),
        ("complete", True),
    ]
    assert {line["request_id"] for line in lines} == {"r-1"}
    assert {line["ratio_qty_request"] for line in lines} == {"1"}
    assert lines[0]["request"]["lease_ttl"] == "2.500000000s"
