"""The client against a real server: both of its faces say the same."""

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.client import (
    AsyncLiquidationClient,
    LiquidationCallFailed,
    LiquidationClient,
    LiquidationClientError,
    LiquidationRefused,
)
from liquidation.rules.policy import Limits, Policy
from liquidation.values import (
    CheckedClaim,
    ClaimedPosition,
    ClaimRequest,
    ClaimState,
    ClaimTerms,
    FieldViolation,
    Liquidation,
    Liquidator,
    MarginAccount,
    MarginPosition,
    Position,
    RuleMode,
    RuleOutcome,
    SymbolRatio,
    Tier,
)
from tests import samples
from tests.sidecars import Running, held_up, running

LOW = Liquidation(
    liquidation_id=101,
    account_id="account-low",
    tier=Tier.LOW,
    positions=(
        Position("PERP_BTC_USDC", Decimal("0.5"), Decimal(40000)),
        Position("PERP_ETH_USDC", Decimal(-4), Decimal(2500)),
    ),
    margin_ratio=Decimal("0.008"),
    maintenance_margin_ratio=Decimal("0.012"),
    revision=7,
)
HIGH = Liquidation(
    liquidation_id=202,
    account_id="account-high",
    tier=Tier.HIGH,
    positions=(Position("PERP_SOL_USDC", "100", "200"),),
    margin_ratio="0.02",
    maintenance_margin_ratio="0.05",
    revision=3,
)
ALL = ClaimTerms(101, "liquidator-1", "1")
TOO_LITTLE = replace(ALL, ratio_qty_request="0.3333")
MALFORMED = replace(ALL, ratio_qty_request="half")
MINUTE = timedelta(seconds=60)


@dataclass(frozen=True)
class Face:
    """One of the two clients, called the same way; what it iterates over comes as a list."""

    client: LiquidationClient | AsyncLiquidationClient

    async def __call__(self, method: str, *values: Any, **named: Any) -> Any:
        call = getattr(self.client, method)
        if isinstance(self.client, LiquidationClient):
            return await asyncio.to_thread(lambda: _collected(call(*values, **named)))
        answer = call(*values, **named)
        return [each async for each in answer] if hasattr(answer, "__aiter__") else await answer

    async def raises(self, method: str, *values: Any, **named: Any) -> Any:
        """The error of the client that a call must raise."""
        with pytest.raises(LiquidationClientError) as raised:
            await self(method, *values, **named)
        return raised.value

    async def close(self) -> None:
        closing = self.client.close()
        if closing is not None:
            await closing


def _collected(answer: Any) -> Any:
    return list(answer) if isinstance(answer, Iterator) else answer


FACES = pytest.mark.parametrize("kind", [LiquidationClient, AsyncLiquidationClient])
Kind = type[LiquidationClient] | type[AsyncLiquidationClient]


@pytest.fixture(params=[LiquidationClient, AsyncLiquidationClient], ids=["sync", "aio"])
async def ask(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Face]:
    face = Face(request.param(server.address))
    yield face
    await face.close()


async def test_an_accepted_claim_tells_what_it_takes(ask: Face) -> None:
    claim = await ask("check_claim", replace(ALL, ratio_qty_request=Decimal("0.5")), LOW)

    assert claim.positions == (
        ClaimedPosition("PERP_BTC_USDC", Decimal("0.25"), Decimal("0.25"), Decimal(10000)),
        ClaimedPosition("PERP_ETH_USDC", Decimal(-2), Decimal(-2), Decimal(5000)),
    )
    decision = claim.decision
    assert decision.accepted
    assert decision.rule == ""
    assert decision.total_notional == Decimal(samples.LOW_NOTIONAL)
    assert decision.least_req_ratio == Decimal("0.3334")
    assert decision.liquidation_revision == 7
    assert decision.rules_version == "default"
    assert decision.trace == ()


async def test_an_explained_claim_tells_every_rule(ask: Face) -> None:
    terms = ClaimTerms(202, "liquidator-1", symbols=[SymbolRatio("PERP_SOL_USDC", "1")])
    account = MarginAccount(
        "100000", [MarginPosition("PERP_SOL_USDC", "0", "200", "0.1", "0")], Decimal(10)
    )

    claim = await ask("check_claim", terms, HIGH, Liquidator("liquidator-1", account), explain=True)

    assert [(each.rule, each.outcome) for each in claim.decision.trace][-2:] == [
        ("limit_price", RuleOutcome.PASSED),
        ("liquidator_margin", RuleOutcome.PASSED),
    ]
    assert claim.decision.trace[10].facts["min_claim_notional"] == "5000"


async def test_a_refusal_carries_all_that_the_service_tells(ask: Face) -> None:
    refused = await ask.raises("check_claim", TOO_LITTLE, LOW)

    assert isinstance(refused, LiquidationRefused)
    assert (refused.code, refused.http_status) == (-1201, 400)
    assert refused.name == "LIQUIDATION_REQUEST_RATIO_TOO_SMALL"
    assert refused.message == "least req ratio should = 0.3334"
    assert str(refused) == "-1201 least req ratio should = 0.3334"
    assert refused.grpc_code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.rule == "least_request_ratio"
    assert refused.metadata["total_notional"] == "30000"
    assert refused.metadata["least_req_ratio"] == "0.3334"
    assert refused.field_violations == ()
    assert refused.retry_after is None
    assert refused.decision is not None
    assert not refused.decision.accepted
    assert refused.decision.least_req_ratio == Decimal("0.3334")
    assert refused.rest_payload() == {
        "success": False,
        "code": -1201,
        "message": "least req ratio should = 0.3334",
    }
    assert isinstance(refused.__cause__, grpc.RpcError)


async def test_a_malformed_text_reaches_the_service_and_is_named(ask: Face) -> None:
    refused = await ask.raises("check_claim", MALFORMED, LOW)

    assert refused.code == -1005
    assert refused.field_violations == (
        FieldViolation(
            "terms.ratio_qty_request",
            "must be a decimal of up to 18 digits on each side of the point, such as 12.5",
        ),
    )


async def test_a_decimal_travels_plainly_and_exactly(ask: Face) -> None:
    quantity = Decimal("123456789012345678.000000000000000001")
    put = replace(HIGH, positions=[Position("PERP_SOL_USDC", quantity, Decimal("2E+2"))])

    stored = (await ask("put_liquidation", put)).liquidation

    assert stored.positions == (Position("PERP_SOL_USDC", quantity, Decimal(200)),)
    assert await ask("get_liquidation", 202) == stored


async def test_a_refusal_that_may_pass_later_says_when(ask: Face) -> None:
    own = await ask.raises("check_claim", replace(ALL, liquidator_id="account-low"), LOW)

    assert own.code == -1012
    assert own.retry_after == timedelta(seconds=1)


async def test_a_batch_answers_in_order_with_refusals_as_values(ask: Face) -> None:
    requests = (ClaimRequest(terms, LOW) for terms in (ALL, MALFORMED, TOO_LITTLE, ALL))

    answers = await ask("batch_check_claims", requests)

    assert [getattr(each, "code", 0) for each in answers] == [0, -1005, -1201, 0]
    assert isinstance(answers[0], CheckedClaim)
    assert answers[2].grpc_code is grpc.StatusCode.FAILED_PRECONDITION
    assert answers[2].decision.rule == "least_request_ratio"


async def test_an_empty_batch_is_refused_as_a_whole(ask: Face) -> None:
    assert (await ask.raises("batch_check_claims", [])).code == -1005


async def test_a_batch_of_a_thousand_explained_answers_arrives(ask: Face) -> None:
    answers = await ask("batch_check_claims", [ClaimRequest(ALL, LOW, explain=True)] * 1000)

    assert {len(each.decision.trace) for each in answers} == {13}


async def test_a_stream_answers_in_order_with_refusals_as_values(ask: Face) -> None:
    requests = [
        ("first", ClaimRequest(ALL, LOW)),
        ("bad", ClaimRequest(MALFORMED, LOW)),
        ("small", ClaimRequest(TOO_LITTLE, LOW)),
        ("last", ClaimRequest(ALL, LOW)),
    ]

    answers = await ask("stream_check_claims", iter(requests))

    assert [(name, getattr(each, "code", 0)) for name, each in answers] == [
        ("first", 0),
        ("bad", -1005),
        ("small", -1201),
        ("last", 0),
    ]


async def test_a_request_without_a_correlation_id_is_known_by_its_place(ask: Face) -> None:
    answers = await ask("stream_check_claims", [ClaimRequest(ALL, LOW)] * 3)

    assert [name for name, _ in answers] == ["1", "2", "3"]


async def test_an_error_of_the_callers_own_requests_is_raised_after_what_was_asked(
    ask: Face,
) -> None:
    def requests() -> Iterator[ClaimRequest]:
        yield ClaimRequest(ALL, LOW)
        raise OSError("the file ended early")

    with pytest.raises(OSError, match="the file ended early"):
        await ask("stream_check_claims", requests())


async def test_a_stream_that_is_left_early_ends_its_call(server: Running) -> None:
    def left_early() -> str:
        with LiquidationClient(server.address) as client:
            stream = client.stream_check_claims(ClaimRequest(ALL, LOW) for _ in range(1_000_000))
            return next(iter(stream))[0]

    assert await asyncio.to_thread(left_early) == "1"


async def test_the_aio_stream_takes_requests_as_they_come(server: Running) -> None:
    asked: asyncio.Queue[ClaimTerms] = asyncio.Queue()

    async def requests() -> AsyncIterator[ClaimRequest]:
        while True:
            yield ClaimRequest(await asked.get(), LOW)

    async with AsyncLiquidationClient(server.address) as client:
        stream = client.stream_check_claims(requests())
        await asked.put(ALL)
        assert isinstance((await anext(stream))[1], CheckedClaim)
        await asked.put(TOO_LITTLE)
        assert isinstance((await anext(stream))[1], LiquidationRefused)
        await stream.aclose()  # type: ignore[attr-defined]


async def test_the_error_table_has_every_row(ask: Face) -> None:
    codes = await ask("list_error_codes")

    assert len(codes) == 27
    assert codes[0].name == "UNKNOWN"
    assert codes[0].grpc_code == "INTERNAL"
    assert codes[0].emitted


async def test_the_rules_in_force_are_told(ask: Face) -> None:
    rules = await ask("get_rules")

    assert rules.version == "default"
    assert {each.tier: each.min_claim_notional for each in rules.tiers} == {
        Tier.LOW: Decimal(10000),
        Tier.HIGH: Decimal(5000),
    }
    assert rules.rules[1].rule == "well_formed"
    assert rules.rules[1].mode is RuleMode.ENFORCE
    assert rules.default_lease_ttl == timedelta(seconds=30)
    assert rules.claim_retention == timedelta(days=7)


async def test_liquidations_are_put_refreshed_and_closed(ask: Face) -> None:
    put = await ask("put_liquidation", LOW)
    again = await ask("put_liquidation", LOW)

    assert (put.liquidation, put.applied, put.closed) == (LOW, True, False)
    assert not again.applied
    assert (await ask("check_claim", ALL)).decision.liquidation_revision == 7
    assert await ask("close_liquidation", 101) == LOW
    assert (await ask("put_liquidation", replace(LOW, revision=8))).closed
    gone = await ask.raises("get_liquidation", 101)
    assert gone.code == -1202
    assert gone.grpc_code is grpc.StatusCode.NOT_FOUND
    assert gone.decision is None


async def test_liquidations_are_listed_over_all_pages(ask: Face) -> None:
    many = [replace(LOW, liquidation_id=number) for number in range(1, 8)]
    results = await ask("batch_put_liquidations", many)
    await ask("put_liquidation", HIGH)

    listed = await ask("list_liquidations", page_size=3)
    of_account = await ask("list_liquidations", "account-low", page_size=7)

    assert [each.applied for each in results] == [True] * 7
    assert [each.liquidation_id for each in listed] == [1, 2, 3, 4, 5, 6, 7, 202]
    assert of_account == many


async def test_a_snapshot_time_comes_back_in_utc_with_microseconds(ask: Face) -> None:
    time = datetime(2026, 11, 20, 8, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    put = await ask("put_liquidation", replace(LOW, snapshot_time=time))

    assert put.liquidation.snapshot_time == time
    assert put.liquidation.snapshot_time.tzinfo is UTC


async def test_an_account_comes_back_as_it_was_put(ask: Face) -> None:
    position = MarginPosition(
        "PERP_BTC_USDC",
        Decimal("0.5"),
        Decimal(40000),
        Decimal("0.02"),
        Decimal("0.0000002"),
        base_mmr=Decimal("0.012"),
    )
    account = MarginAccount(Decimal(100), (position,))
    put = replace(LOW, margin_ratio=None, maintenance_margin_ratio=None, account=account)

    assert (await ask("put_liquidation", put)).liquidation == put


async def test_a_granted_claim_tells_what_it_takes_and_its_decision(ask: Face) -> None:
    terms = replace(ALL, extra_liquidation_ratio=Decimal("0.05"))

    granted = await ask("begin_claim", "r-1", terms, LOW, lease_ttl=MINUTE)

    claim = granted.claim
    assert claim.request_id == "r-1"
    assert claim.account_id == "account-low"
    assert claim.terms == replace(terms, ratio_qty_request=Decimal(1))
    assert claim.liquidation_revision == 7
    assert claim.fencing_token >= 1
    assert claim.state is ClaimState.ACTIVE
    assert claim.positions == (
        ClaimedPosition("PERP_BTC_USDC", Decimal("0.5"), Decimal("0.525"), Decimal(20000)),
        ClaimedPosition("PERP_ETH_USDC", Decimal(-4), Decimal("-4.2"), Decimal(10000)),
    )
    assert claim.expire_time - claim.begin_time == MINUTE
    assert claim.begin_time.tzinfo is UTC
    assert (claim.end_time, claim.end_reason) == (None, "")
    assert granted.decision.accepted
    assert granted.decision.total_notional == Decimal(samples.LOW_NOTIONAL)
    assert (await ask("get_liquidation", 101)) == LOW


async def test_a_claim_on_the_stored_snapshot_checks_the_liquidators_margin(ask: Face) -> None:
    await ask("put_liquidation", HIGH)
    terms = ClaimTerms(202, "liquidator-1", symbols=[SymbolRatio("PERP_SOL_USDC", "1")])
    poor = MarginAccount(
        "1", [MarginPosition("PERP_SOL_USDC", "0", "200", "0.1", "0")], Decimal(10)
    )

    refused = await ask.raises("begin_claim", "r-1", terms, None, Liquidator("liquidator-1", poor))
    granted = await ask("begin_claim", "r-1", terms)

    assert refused.code == -1101
    assert granted.claim.liquidation_revision == 3


async def test_a_lease_that_is_not_named_is_the_one_of_the_rules(ask: Face) -> None:
    claim = (await ask("begin_claim", "r-1", ALL, LOW)).claim

    assert claim.expire_time - claim.begin_time == timedelta(seconds=30)


async def test_the_same_request_id_gives_the_first_answer_again(ask: Face) -> None:
    first = await ask("begin_claim", "r-1", ALL, LOW)

    assert await ask("begin_claim", "r-1", ALL, LOW) == first
    duplicate = await ask.raises("begin_claim", "r-1", replace(ALL, ratio_qty_request="0.5"), LOW)
    assert duplicate.code == -1007
    assert duplicate.grpc_code is grpc.StatusCode.ALREADY_EXISTS
    assert duplicate.metadata["claim_id"] == first.claim.claim_id


async def test_while_a_claim_is_active_another_is_told_how_long_to_wait(ask: Face) -> None:
    held = await ask("begin_claim", "r-1", ALL, LOW)

    refused = await ask.raises("begin_claim", "r-2", ALL, LOW)

    assert (refused.code, refused.rule) == (-1012, "no_claim_in_process")
    assert timedelta(0) < refused.retry_after <= timedelta(seconds=30)
    assert refused.metadata["claim_id"] == held.claim.claim_id


async def test_a_claim_is_renewed_and_completed(ask: Face) -> None:
    claim = (await ask("begin_claim", "r-1", ALL, LOW)).claim
    name = (claim.claim_id, claim.fencing_token)

    renewed = await ask("renew_claim", *name, MINUTE)
    completed = await ask("complete_claim", *name)

    assert renewed.expire_time > claim.expire_time
    assert completed.state is ClaimState.COMPLETED
    assert completed.end_time >= claim.begin_time
    assert await ask("complete_claim", *name) == completed
    late = await ask.raises("renew_claim", *name)
    assert (late.code, late.message) == (-1202, "The claim is not active: it is completed.")
    waiting = await ask.raises("begin_claim", "r-2", ALL, LOW)
    assert (waiting.code, waiting.retry_after) == (-1012, timedelta(seconds=1))
    assert (await ask("begin_claim", "r-2", ALL, replace(LOW, revision=8))).claim


async def test_a_claim_is_cancelled_with_its_token_or_by_force(ask: Face) -> None:
    own = (await ask("begin_claim", "r-1", ALL, LOW)).claim
    other = await ask.raises("cancel_claim", own.claim_id, own.fencing_token + 1)
    cancelled = await ask("cancel_claim", own.claim_id, own.fencing_token, "no cover")
    stuck = (await ask("begin_claim", "r-2", ALL, LOW)).claim
    forced = await ask("cancel_claim", stuck.claim_id, reason="backend is down", force=True)

    assert other.message == "The fencing token is not that of the claim."
    assert (cancelled.state, cancelled.end_reason) == (ClaimState.CANCELLED, "no cover")
    assert (forced.state, forced.end_reason) == (ClaimState.CANCELLED, "backend is down")


async def test_a_claim_is_got_with_its_history_by_either_id(ask: Face) -> None:
    claim = (await ask("begin_claim", "r-1", ALL, LOW)).claim
    renewed = await ask("renew_claim", claim.claim_id, claim.fencing_token, MINUTE)
    cancelled = await ask("cancel_claim", claim.claim_id, reason="backend is down", force=True)

    found = await ask("get_claim", claim.claim_id)

    assert found.claim == cancelled
    assert [(each.change, each.reason, each.forced) for each in found.history] == [
        ("begin", "", False),
        ("renew", "", False),
        ("cancel", "backend is down", True),
    ]
    assert [each.expire_time for each in found.history] == [
        claim.expire_time,
        renewed.expire_time,
        renewed.expire_time,
    ]
    assert found.history[0].time == claim.begin_time
    assert found.history[2].time == cancelled.end_time
    assert await ask("get_claim", request_id="r-1") == found


async def test_a_claim_that_is_not_known_is_refused(ask: Face) -> None:
    for method, values in (
        ("renew_claim", ("nobody", 1)),
        ("complete_claim", ("nobody", 1)),
        ("cancel_claim", ("nobody", 1)),
        ("get_claim", ("nobody",)),
    ):
        refused = await ask.raises(method, *values)
        assert (refused.code, refused.grpc_code) == (-1006, grpc.StatusCode.NOT_FOUND)


async def test_claims_are_listed_over_all_pages_newest_first(ask: Face) -> None:
    for number in range(1, 6):
        on = replace(LOW, liquidation_id=number, account_id=f"account-{number}")
        terms = replace(ALL, liquidation_id=number)
        claim = (await ask("begin_claim", f"r-{number}", terms, on)).claim
        if number < 3:
            await ask("cancel_claim", claim.claim_id, claim.fencing_token)

    def ids(claims: list[Any]) -> list[str]:
        return [each.request_id for each in claims]

    assert ids(await ask("list_claims", page_size=2)) == ["r-5", "r-4", "r-3", "r-2", "r-1"]
    assert ids(await ask("list_claims", "account-4")) == ["r-4"]
    assert ids(await ask("list_claims", liquidation_id=2)) == ["r-2"]
    assert ids(await ask("list_claims", state=ClaimState.CANCELLED)) == ["r-2", "r-1"]
    assert await ask("list_claims", state=ClaimState.EXPIRED) == []


async def test_more_calls_than_the_server_takes_are_told_to_wait(tmp_path: Path) -> None:
    policy = Policy(limits=Limits(max_concurrent_calls=1))

    async with (
        running(tmp_path, policy) as server,
        AsyncLiquidationClient(server.address) as client,
        held_up(server),
    ):
        with pytest.raises(LiquidationRefused) as refused:
            await client.check_claim(ALL, LOW)

    assert refused.value.code == -1003
    assert refused.value.grpc_code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.retry_after == timedelta(seconds=1)


@FACES
@pytest.mark.parametrize("method", ["check_claim", "stream_check_claims"])
async def test_a_server_that_is_not_there_is_a_failed_call(kind: Kind, method: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        face = Face(kind(f"127.0.0.1:{taken.getsockname()[1]}"))
        value = ALL if method == "check_claim" else [ClaimRequest(ALL)]
        failed = await face.raises(method, value)
        await face.close()

    assert isinstance(failed, LiquidationCallFailed)
    assert failed.grpc_code is grpc.StatusCode.UNAVAILABLE
    assert str(failed).startswith("UNAVAILABLE: ")
    assert isinstance(failed.__cause__, grpc.RpcError)


@FACES
async def test_a_call_that_takes_too_long_is_a_failed_call(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        face = Face(kind(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.05))
        failed = await face.raises("get_rules")
        await face.close()

    assert isinstance(failed, LiquidationCallFailed)
    assert failed.grpc_code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_task_is_cancelled_as_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        async with AsyncLiquidationClient(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            call = asyncio.create_task(client.get_rules())
            connection, _ = await asyncio.get_running_loop().sock_accept(silent)
            with connection:
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call


def test_a_snapshot_without_its_revision_is_not_taken() -> None:
    with pytest.raises(TypeError, match="required keyword-only argument: 'revision'"):
        Liquidation(101, "account-low", Tier.LOW, LOW.positions, "0.008", "0.012")  # type: ignore[call-arg]


@pytest.mark.parametrize("number", [0.5, 1, True])
def test_a_number_is_a_decimal_or_a_text(number: Any) -> None:
    with pytest.raises(TypeError, match="mark_price must be a Decimal or a str, not "):
        Position("PERP_BTC_USDC", "1", number)


def test_a_limit_price_is_a_decimal_or_a_text() -> None:
    with pytest.raises(TypeError, match="limit_price must be a Decimal or a str, not float"):
        ClaimTerms(101, "liquidator-1", "1", limit_price={"PERP_BTC_USDC": 0.5})  # type: ignore[dict-item]


def test_a_time_without_a_zone_is_not_taken() -> None:
    with pytest.raises(ValueError, match="snapshot_time must have a time zone"):
        replace(LOW, snapshot_time=datetime(2026, 11, 20))  # noqa: DTZ001


def test_a_refusal_survives_pickling() -> None:
    refused = LiquidationRefused(
        -1003, "TOO_MANY_REQUEST", "Rate limit exceed.", 429, grpc.StatusCode.RESOURCE_EXHAUSTED
    )

    copy = pickle.loads(pickle.dumps(refused))

    assert copy.rest_payload() == refused.rest_payload()
    assert copy.grpc_code is refused.grpc_code
