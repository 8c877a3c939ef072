"""A call as it is sent to both sides, and how it is written to a recording."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2

Json = dict[str, Any]
# Above a fencing token by so much is no other one.
FAR: Final = 10**12
_PACKAGE: Final = "/liquidation.v1."


@dataclass(frozen=True, slots=True)
class Method:
    """The messages of a method of the API."""

    request: type[Message]
    response: type[Message]
    streams: bool


def _methods() -> Iterator[tuple[str, Method]]:
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                messages = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
                path = f"/{service.full_name}/{method.name}"
                yield path, Method(*messages, method.client_streaming)


# By the path of the call. A path that is not here is called with bytes and answers with bytes.
METHODS: Final[dict[str, Method]] = dict(_methods())


def path_of(name: str) -> str:
    """The path of `Service.Method` of the API."""
    service, method = name.split(".")
    return f"{_PACKAGE}{service}/{method}"


@dataclass(frozen=True, slots=True)
class Fill:
    """A field that each side fills from its own answer to an earlier call of the lane.

    `field` is "claim_id", "fencing_token" or "page_token", `call` the earlier call's place in the
    lane. `change` is added to a token; a page token gets so many letters more. Where the earlier
    call was refused, the field stays as it is in the message.
    """

    field: str
    call: int
    change: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call: a path, one message or those of a stream, and what goes with it.

    `{key:NAME}` in the metadata stands for the API key of that name, which is another one on each
    side. `padding` is how many zero bytes are put behind the first message. Without `traced` the
    call has no trace id, and its log lines are known by their order alone. With `until_ended` it
    is repeated until the claim in the answer has ended and its history tells so.
    """

    path: str
    messages: tuple[bytes, ...]
    fills: tuple[Fill, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    padding: int = 0
    traced: bool = True
    until_ended: bool = False
    requests: int = 1

    def as_json(self) -> Json:
        """The call as JSON; bytes are texts of Latin-1."""
        told = {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name)}
        told["messages"] = [each.decode("latin-1") for each in self.messages]
        if self.fills:
            told["fills"] = [[each.field, each.call, each.change] for each in self.fills]
        return told

    @classmethod
    def from_json(cls, told: Json) -> "Call":
        """The call that `as_json` wrote."""
        return cls(
            **told
            | {
                "messages": tuple(each.encode("latin-1") for each in told["messages"]),
                "fills": tuple(Fill(*each) for each in told.get("fills", ())),
                "metadata": tuple((key, value) for key, value in told.get("metadata", ())),
            }
        )


_DEFAULTS: Final = {
    "fills": (),
    "metadata": (),
    "padding": 0,
    "traced": True,
    "until_ended": False,
    "requests": 1,
}


@dataclass(frozen=True)
class Lane:
    """Calls in order, in steps: those of one step may be in progress at the same time.

    Lanes share no account, liquidation, liquidator or request id, so they may run side by side. One
    that is `alone` runs before all others and while nothing else does.
    """

    steps: list[list[Call]]
    alone: bool = False

    @property
    def calls(self) -> list[Call]:
        """All calls, in order; a call's place here is what `Fill.call` means."""
        return list(chain.from_iterable(self.steps))


@dataclass(frozen=True)
class Settings:
    """How a server is started. `keys` are API keys by name, with their permissions.

    With `serial` nothing runs side by side: what is answered depends on all calls before.
    """

    rules: str = ""
    candidate: str = ""
    flags: tuple[str, ...] = ()
    keys: dict[str, list[str]] = field(default_factory=dict)
    serial: bool = False


@dataclass(frozen=True)
class Stage:
    """A server's settings, and all that it is sent from its start to its end."""

    name: str
    settings: Settings
    lanes: list[Lane]

    @property
    def requests(self) -> int:
        """How many requests that are: each item of a batch or stream counts as one."""
        return sum(call.requests for lane in self.lanes for call in lane.calls)
