"""Clients in other languages, and tools, get the code and every detail on every way to the server.

With LIQUIDATION_INTEROP=1 each of them asks everything on every way, and one that cannot be made
is a failure.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

import pytest

from tests.attacks.interop import built
from tests.attacks.interop.clients import GRPCURL, Answer, Buf, Client, Grpcurl, Place, Program
from tests.attacks.interop.conftest import Keys, Narrow
from tests.attacks.interop.questions import FEW, Question, held_up, questions
from tests.deploy.envoys import needs_envoy
from tests.service.test_cases import CASES

EVERYTHING: Final = os.environ.get("LIQUIDATION_INTEROP") == "1"


@dataclass(frozen=True)
class Kind:
    """How a client is made; in its place may come a text that says why it is not."""

    make: Callable[[], Client | str]
    # The ways that it goes in `make test`. One that needs a process a question goes few.
    ways: frozenset[str] = frozenset({"tcp", "unix", "mtls", "envoy"})
    # Its schema is the server's own.
    reflects: bool = False


def node() -> Client | str:
    directory = built.node_directory()
    if isinstance(directory, str):
        return directory
    return Program(("node", directory / "ask.mjs", built.newer_protos()))


def cpp() -> Client | str:
    directory = built.cpp_programs(make=EVERYTHING)
    return directory if isinstance(directory, str) else Program((directory / "ask",))


def grpcurl(*, reflects: bool) -> Client | str:
    if not GRPCURL.exists():
        return "no grpcurl for this machine"
    return Grpcurl(None if reflects else built.newer_schema())


ENVOY: Final = frozenset({"envoy"})
TCP: Final = frozenset({"tcp"})
KINDS: Final = {
    "node": Kind(node),
    "cpp": Kind(cpp),
    "grpcurl": Kind(lambda: grpcurl(reflects=False), ENVOY),
    "grpcurl, reflection": Kind(lambda: grpcurl(reflects=True), TCP, reflects=True),
    "buf": Kind(lambda: Buf(built.newer_schema()), TCP),
    "buf, reflection": Kind(Buf, ENVOY, reflects=True),
}
WAYS: Final = ("tcp", "unix", "mtls", "envoy")
NUMBERS: Final = count(5000)


def client_of(kind: Kind) -> Client:
    made = kind.make()
    if not isinstance(made, str):
        return made
    if EVERYTHING:
        pytest.fail(made)
    pytest.skip(made)


def asked_of(kind: Kind) -> list[Question]:
    """What a client of this kind can ask, and has the time to."""
    has_time = EVERYTHING or kind.ways == frozenset(WAYS)
    return [
        each
        for each in questions(next(NUMBERS))
        if not (kind.reflects and each.newer)
        and (has_time or each.name in FEW or each.name not in CASES)
    ]


def assert_told(asked: list[Question], told: list[Answer]) -> None:
    for question, answer in zip(asked, told, strict=True):
        assert answer.status == question.status, question.name
        assert answer.answers == question.answers, question.name


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, marks=needs_envoy if way == "envoy" else ())
        for way in WAYS
        for name, kind in KINDS.items()
        if EVERYTHING or way in kind.ways
    ],
)
def test_a_client_gets_the_code_and_every_detail(
    name: str, way: str, keys: Keys, request: pytest.FixtureRequest
) -> None:
    client = client_of(KINDS[name])
    place: Place = request.getfixturevalue(way)
    asked = asked_of(KINDS[name])

    assert_told(asked, client.ask(place, asked, keys.values))


@pytest.mark.parametrize("name", KINDS)
def test_a_client_that_is_one_too_many_is_told_when_to_try_again(name: str, narrow: Narrow) -> None:
    client, asked = client_of(KINDS[name]), [held_up()]

    assert_told(asked, narrow.ask_while_full(lambda place: client.ask(place, asked, {})))


def test_of_every_kind_of_detail_there_is_a_question() -> None:
    asked = [*questions(1), held_up()]
    kinds = {detail["@type"] for each in asked if each.status for detail in each.status["details"]}

    assert {kind.rpartition("/")[2] for kind in kinds} == {
        "google.rpc.BadRequest",
        "google.rpc.ErrorInfo",
        "google.rpc.PreconditionFailure",
        "google.rpc.ResourceInfo",
        "google.rpc.RetryInfo",
        "liquidation.v1.LiquidationError",
    }
    assert {each.name for each in asked} >= FEW
