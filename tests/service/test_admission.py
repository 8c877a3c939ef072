"""What stands before a call: keys, rates, and how many may be in progress."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from liquidation.api.admission import Admission, trace_id_of
from liquidation.api.status import fill_status
from liquidation.auth.keys import (
    ANYONE,
    ENTROPY_BYTES,
    Identity,
    KeyRing,
    Permission,
    new_key,
    revoked_key,
)
from liquidation.decisionlog.observer import Observer
from liquidation.rules.errors import GrpcCode
from liquidation.rules.model import Refusal
from liquidation.rules.policy import Limits
from liquidation.transport.base import Metadata

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def status_of(refusal: Refusal) -> Status:
    """The status that carries a refusal."""
    status = Status()
    fill_status(status, refusal)
    return status


class World:
    """What an admission is told, changed by a test while it is in use."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.ring: KeyRing | None = None
        self.now = NOW
        self.nanoseconds = 0
        self.admission = Admission(
            lambda: self.limits,
            lambda: self.ring,
            10.0,
            trace_id_of,
            Observer(),
            lambda: self.now,
            lambda: self.nanoseconds,
        )

    def take_keys(self, *permissions: Permission) -> str:
        """Keys are on from now on; the one there is has these permissions."""
        self.ring, key = new_key(
            KeyRing(),
            "risk-backend",
            permissions,
            NOW + timedelta(days=1),
            NOW,
            os.urandom(ENTROPY_BYTES),
        )
        return key

    def answer(self, *metadata: tuple[str, str | bytes]) -> tuple[int, GrpcCode] | str:
        """The name of who may call, or how they are refused."""
        answer = self.admission.identify(metadata, Permission.CHECK)
        return answer.name if isinstance(answer, Identity) else (answer.row.code, answer.row.grpc)


@pytest.fixture
def world() -> World:
    return World()


MALFORMED = (-1001, GrpcCode.UNAUTHENTICATED)
NOT_TAKEN = (-1002, GrpcCode.UNAUTHENTICATED)
LACKS = (-1002, GrpcCode.PERMISSION_DENIED)


def test_while_keys_are_off_everybody_may_do_everything_and_has_no_name(world: World) -> None:
    metadata: Metadata = (("authorization", "Basic x"), ("authorization", b"\xff"))

    for permission in Permission:
        assert world.admission.identify(metadata, permission) is ANYONE


def test_a_key_is_carried_as_a_bearer_token(world: World) -> None:
    key = world.take_keys(Permission.CHECK)

    for scheme in ("Bearer", "bearer", "BEARER"):
        assert world.answer(("authorization", f"{scheme} {key}")) == "risk-backend"
    among_others = (("user-agent", "x"), ("authorization", f"Bearer {key}"), ("x-bin", b"\xff"))
    assert world.answer(*among_others) == "risk-backend"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "{key}",
        "Basic {key}",
        "Bearer{key}",
        "Bearer {key} ",
        " Bearer {key}",
        "Bearer {key},{key}",
        "Bearer {key}é",
        "Bearer {key}\n",
        "Bearer lq_x",
        "Bearer " + "x" * 100_000,
    ],
)
def test_a_header_of_another_form_is_malformed(world: World, header: str) -> None:
    key = world.take_keys(Permission.CHECK)

    assert world.answer(("authorization", header.format(key=key))) == MALFORMED


def test_a_header_that_is_no_text_is_malformed(world: World) -> None:
    key = world.take_keys(Permission.CHECK)

    assert world.answer(("authorization", f"Bearer {key}".encode())) == MALFORMED


def test_a_header_that_is_there_twice_is_malformed_even_if_one_is_good(world: World) -> None:
    good = ("authorization", f"Bearer {world.take_keys(Permission.CHECK)}")

    assert world.answer(good, good) == MALFORMED
    assert world.answer(good, ("authorization", "")) == MALFORMED


def test_without_a_key_nobody_may_call(world: World) -> None:
    world.take_keys(Permission.ADMIN)

    assert world.answer() == NOT_TAKEN
    assert world.answer(("x-authorization", "Bearer x")) == NOT_TAKEN


def test_a_good_key_without_the_permission_is_denied(world: World) -> None:
    key = world.take_keys(Permission.CLAIMS)

    assert world.answer(("authorization", f"Bearer {key}")) == LACKS


def test_a_key_that_expires_or_is_revoked_while_the_server_runs_is_refused(world: World) -> None:
    header = ("authorization", f"Bearer {world.take_keys(Permission.CHECK)}")
    assert world.ring is not None

    assert world.answer(header) == "risk-backend"
    world.now += timedelta(days=1)
    assert world.answer(header) == NOT_TAKEN
    world.now = NOW
    world.ring = revoked_key(world.ring, "risk-backend", NOW)
    assert world.answer(header) == NOT_TAKEN


def test_a_refusal_tells_nothing_of_the_key(world: World) -> None:
    key = world.take_keys(Permission.CLAIMS)
    for header in (f"Bearer {key}", f"Bearer {key}x", f"Basic {key}", f"Bearer {key[:-1]}A"):
        answer = world.admission.identify((("authorization", header),), Permission.CHECK)

        assert isinstance(answer, Refusal)
        told = f"{answer!r} {answer.message} {status_of(answer)}"
        assert key[16:-1] not in told
        assert "risk-backend" not in told


def rates(world: World, liquidator: str, times: int) -> list[Refusal | None]:
    per_second = world.limits.liquidator_requests_per_second
    return [world.admission.rate(liquidator, per_second) for _ in range(times)]


def test_without_a_limit_no_rate_is_refused(world: World) -> None:
    assert rates(world, "l", 100) == [None] * 100


def test_a_liquidator_that_asks_too_often_is_told_when_to_ask_again(world: World) -> None:
    world.limits = Limits(liquidator_requests_per_second=5)

    *taken, refusal = rates(world, "l", 6)

    assert taken == [None] * 5
    assert refusal is not None
    assert (refusal.row.code, refusal.row.grpc) == (-1003, GrpcCode.RESOURCE_EXHAUSTED)
    assert refusal.message == "Rate limit exceed."
    assert refusal.retry_after_s == Decimal("1.001")
    retry = error_details_pb2.RetryInfo()
    (packed,) = [each for each in status_of(refusal).details if each.Is(retry.DESCRIPTOR)]
    packed.Unpack(retry)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (1, 1_000_000)
    info = error_details_pb2.ErrorInfo()
    status_of(refusal).details[0].Unpack(info)
    assert info.metadata["liquidator_requests_per_second"] == "5"
    world.nanoseconds += 1_001_000_000
    assert rates(world, "l", 6)[:5] == [None] * 5


def test_each_liquidator_has_a_rate_of_its_own(world: World) -> None:
    world.limits = Limits(liquidator_requests_per_second=1)

    assert rates(world, "a", 1) == rates(world, "b", 1) == [None]
    assert None not in rates(world, "a", 1) + rates(world, "b", 1)


@pytest.mark.parametrize("liquidator", ["", "x" * 129])
def test_what_cannot_be_an_id_is_left_to_the_rule_that_refuses_it(
    world: World, liquidator: str
) -> None:
    world.limits = Limits(liquidator_requests_per_second=1)

    assert rates(world, liquidator, 3) == [None] * 3
    assert None not in rates(world, "x" * 128, 2)[1:]


def test_a_rate_that_changes_is_in_force_at_once(world: World) -> None:
    world.limits = Limits(liquidator_requests_per_second=1)
    assert rates(world, "l", 2)[1] is not None

    world.limits = Limits()

    assert rates(world, "l", 10) == [None] * 10


def test_as_many_calls_as_allowed_are_in_progress_and_a_place_is_free_again_after_one(
    world: World,
) -> None:
    world.limits = Limits(max_concurrent_calls=2)
    limiter = world.admission.limiter

    assert [limiter.enter(), limiter.enter(), limiter.enter()] == [True, True, False]
    limiter.leave()
    assert (limiter.enter(), limiter.in_progress) == (True, 2)


def test_a_limit_that_is_lowered_takes_no_place_away(world: World) -> None:
    limiter = world.admission.limiter
    assert limiter.enter()
    assert limiter.enter()

    world.limits = Limits(max_concurrent_calls=1)

    assert (limiter.in_progress, limiter.enter()) == (2, False)
    limiter.leave()
    assert not limiter.enter()
    limiter.leave()
    assert limiter.enter()
