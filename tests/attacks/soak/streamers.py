"""Callers that ask over streams: some long, some left in the middle."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

import grpc

from liquidation.v1 import rules_service_pb2 as rules_pb
from tests.attacks.soak import asking
from tests.attacks.soak.asking import Ask
from tests.attacks.soak.calling import CALL_S, PATHS, PAUSE_S, Dialled, code_and_decision

_RPC: Final = "StreamCheckClaims"


class Streamer(Dialled):
    """Asks over streams: some long, some left in the middle."""

    async def run(self, ended: asyncio.Event) -> None:
        """Opens one stream after the other until it is told to end."""
        while not ended.is_set():
            await self._stream(self._chance.randrange(1, 400), ended)
            if self._chance.random() < 0.5:
                await self._dial_again()

    async def _stream(self, items: int, ended: asyncio.Event) -> None:
        key = self._server.key
        invoke = self._channel.stream_stream(PATHS[_RPC])
        stream = invoke(metadata=self._metadata(key))
        sent = time.monotonic()
        try:
            while items and not ended.is_set():
                items -= 1
                await self._pace.turn()
                sent = time.monotonic()
                await self._item(stream, items)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
            if key in self._server.keys:
                self._tally.no_answer(Ask(_RPC), sent, repr(error)[:300])
            else:
                # Its key has been taken out of the file meanwhile, which ends a stream.
                self._tally.cut_off(_RPC)
            await asyncio.sleep(PAUSE_S)
        else:
            await self._end(stream)

    async def _end(self, stream: Any) -> None:
        """Ends a stream, or leaves with an item on the way."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if self._chance.random() < 0.3:
                self._tally.cut_off(_RPC)
                await stream.write(_item(asking.check(self._chance), "left"))
                stream.cancel()
            else:
                await stream.done_writing()
                await stream.read()

    async def _item(self, stream: Any, number: int) -> None:
        ask = self._chance.choice((asking.check, asking.refused))(self._chance)
        await stream.write(_item(ask, str(number)))
        async with asyncio.timeout(CALL_S):
            answer = await stream.read()
        if answer is grpc.aio.EOF:
            raise asyncio.InvalidStateError("the stream ended")
        response = rules_pb.StreamCheckClaimsResponse.FromString(answer)
        code, decision = code_and_decision(response.result)
        if response.correlation_id != str(number):
            self._tally.wrong(f"item {number} was answered as {response.correlation_id}")
        self._tally.answer(ask._replace(rpc=_RPC), code, [decision])


def _item(ask: Ask, correlation_id: str) -> bytes:
    request = rules_pb.CheckClaimRequest.FromString(ask.request)
    item = rules_pb.StreamCheckClaimsRequest(correlation_id=correlation_id, request=request)
    return item.SerializeToString()
