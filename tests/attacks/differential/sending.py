"""Sends lanes of calls to one side, as bytes, and keeps all that comes back."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc

from liquidation.v1 import claim_service_pb2
from tests.attacks.differential.calls import METHODS, Call, Fill, Lane, Stage
from tests.attacks.differential.sidecar import Sidecar

# Lanes at once, and calls at once on one connection.
_LANES: Final = 12
_CALLS: Final = 48
_TIMEOUT_S: Final = 120
_KEY: Final = re.compile(r"\{key:([^}]+)\}")
_STREAMS: Final = frozenset(path for path, method in METHODS.items() if method.streams)
_REFLECTION: Final = "ServerReflectionInfo"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)

_Pairs = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """All that came back of a call: gRPC code and words, metadata at both ends, messages."""

    code: int
    message: str
    headers: _Pairs
    trailers: _Pairs
    responses: tuple[bytes, ...]


def trace_id(lane: int, call: int) -> str:
    """The trace id that a call is sent with; its log lines are found by it."""
    return f"{lane + 1:016x}{call + 1:016x}"


async def send(stage: Stage, sidecar: Sidecar) -> list[list[Answer]]:
    """Sends all lanes of a stage; gives the answers by lane, in the order of its calls."""
    async with _connected(sidecar) as caller:
        answers: list[list[Answer]] = [[] for _ in stage.lanes]
        lanes = asyncio.Semaphore(_LANES)

        async def run(number: int, lane: Lane) -> None:
            async with lanes:
                answers[number] = await caller.run(number, lane, serial=stage.settings.serial)

        numbered = list(enumerate(stage.lanes))
        one_by_one = [each for each in numbered if each[1].alone or stage.settings.serial]
        for number, lane in one_by_one:
            await run(number, lane)
        beside = [each for each in numbered if each not in one_by_one]
        await asyncio.gather(*(run(number, lane) for number, lane in beside))
    return answers


@asynccontextmanager
async def _connected(sidecar: Sidecar) -> AsyncIterator["_Caller"]:
    async with grpc.aio.insecure_channel(sidecar.address, options=_OPTIONS) as channel:
        yield _Caller(channel, sidecar.keys)


class _Caller:
    def __init__(self, channel: Any, keys: dict[str, str]) -> None:
        self._channel = channel
        self._keys = keys
        self._calls = asyncio.Semaphore(_CALLS)

    async def run(self, number: int, lane: Lane, *, serial: bool) -> list[Answer]:
        answers: list[Answer] = []
        calls = lane.calls

        async def one(place: int) -> Answer:
            async with self._calls:
                return await self._call(calls, place, answers, trace_id(number, place))

        for step in lane.steps:
            places = range(len(answers), len(answers) + len(step))
            if serial or lane.alone or len(step) == 1:
                for place in places:
                    answers.append(await one(place))  # noqa: PERF401 - a call may need the last
            else:
                answers += await asyncio.gather(*map(one, places))
        return answers

    async def _call(
        self, calls: Sequence[Call], place: int, before: Sequence[Answer], trace: str
    ) -> Answer:
        call = calls[place]
        messages = call.messages
        if call.fills:
            messages = (_filled(call, calls, before),)
        if call.padding:
            messages = (messages[0] + bytes(call.padding),)
        metadata: list[tuple[str, str]] = [
            (key, _KEY.sub(lambda match: self._keys[match[1]], value))
            for key, value in call.metadata
        ]
        if call.traced:
            metadata.append(("traceparent", f"00-{trace}-{'1' * 16}-01"))
        answer = await self._send(call.path, messages, metadata)
        while call.until_ended and _is_active(answer):
            answer = await self._send(call.path, messages, metadata)
        return answer

    async def _send(
        self, path: str, messages: tuple[bytes, ...], metadata: list[tuple[str, str]]
    ) -> Answer:
        if path in _STREAMS or path.endswith(_REFLECTION):
            return await self._stream(path, messages, metadata)
        call = self._channel.unary_unary(path)(messages[0], metadata=metadata, timeout=_TIMEOUT_S)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return _refused(error, ())
        headers, trailers = await call.initial_metadata(), await call.trailing_metadata()
        return Answer(0, "", _pairs(headers), _pairs(trailers), (response,))

    async def _stream(
        self, path: str, messages: tuple[bytes, ...], metadata: list[tuple[str, str]]
    ) -> Answer:
        call = self._channel.stream_stream(path)(
            iter(messages), metadata=metadata, timeout=_TIMEOUT_S
        )
        responses: list[bytes] = []
        try:
            async for response in call:
                responses.append(response)  # noqa: PERF401 - those before an error are kept
        except grpc.aio.AioRpcError as error:
            return _refused(error, tuple(responses))
        headers, trailers = await call.initial_metadata(), await call.trailing_metadata()
        return Answer(0, "", _pairs(headers), _pairs(trailers), tuple(responses))


def _refused(error: grpc.aio.AioRpcError, responses: tuple[bytes, ...]) -> Answer:
    code: int = error.code().value[0]
    headers, trailers = error.initial_metadata(), error.trailing_metadata()
    return Answer(code, error.details() or "", _pairs(headers), _pairs(trailers), responses)


def _pairs(metadata: Any) -> _Pairs:
    return tuple((key, value) for key, value in metadata or ())


def _filled(call: Call, calls: Sequence[Call], before: Sequence[Answer]) -> bytes:
    message: Any = METHODS[call.path].request.FromString(call.messages[0])
    for fill in call.fills:
        if before[fill.call].code == 0:
            earlier = METHODS[calls[fill.call].path].response
            setattr(message, fill.field, _value(fill, earlier, before[fill.call].responses[0]))
    filled: bytes = message.SerializeToString()
    return filled


def _value(fill: Fill, earlier: Any, response: bytes) -> str | int:
    answered = earlier.FromString(response)
    if fill.field == "page_token":
        return str(answered.next_page_token) + "x" * fill.change
    if fill.field == "claim_id":
        return str(answered.claim.claim_id)
    return int(answered.claim.fencing_token) + fill.change


def _is_active(answer: Answer) -> bool:
    """Whether a claim has not ended, or it is not yet in its history."""
    if answer.code:
        return False
    told = claim_service_pb2.GetClaimResponse.FromString(answer.responses[0])
    is_open = told.claim.state == claim_service_pb2.CLAIM_STATE_ACTIVE
    return is_open or told.history[-1].change in {"begin", "renew"}
