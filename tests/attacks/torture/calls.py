"""Calls as a risk backend makes them: with a deadline, on a connection of its own."""

import asyncio
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.json_format import ParseDict
from google.rpc import status_pb2

from liquidation.v1 import claim_service_pb2 as pb
from tests import samples
from tests.sidecars import Details, details_of

LEASE_S: Final = 2
# How long a client waits for an answer. The service says within 2 s that its store has none.
CALL_S: Final = 3.0

_PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.05


class Ended(NamedTuple):
    """How a call ended: "OK", the exchange's code, or gRPC's where the service said nothing."""

    name: str
    details: Details | None = None


def dial(address: str) -> Any:
    """A channel with a connection of its own, which is soon made again after it broke.

    Channels share a connection, and so a worker, unless they are told not to.
    """
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    return grpc.aio.insecure_channel(address, options=options)


async def call(channel: Any, method: str, request: Any) -> tuple[int | None, bytes, Ended]:
    """The exchange's code of an answer, 0 for success and None where none came, with the rest."""
    invoke = channel.unary_unary(f"/liquidation.v1.ClaimService/{method}")
    try:
        return 0, await invoke(request.SerializeToString(), timeout=CALL_S), Ended("OK")
    except grpc.aio.AioRpcError as error:
        data = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        if data is None:
            return None, b"", Ended(error.code().name)
        details = details_of(status_pb2.Status.FromString(data))
        code = details.error.code
        # -1011 says that it is not known what became of the call.
        return (None if code == -1011 else code), b"", Ended(str(code), details)


async def answered(channel: Any, method: str, request: Any) -> tuple[int, bytes]:
    """The code and response of a call that is sent again until it is answered.

    Raises:
        TimeoutError: it is not.
    """
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            code, response, _ = await call(channel, method, request)
            if code is not None:
                return code, response
            await asyncio.sleep(_PAUSE_S)


def begin_request(request_id: str, account: int, revision: int) -> pb.BeginClaimRequest:
    """A claim on all that an account has under liquidation."""
    liquidation_id = account + 1
    body = samples.low_request(
        terms={"liquidation_id": liquidation_id},
        liquidation={
            "liquidation_id": liquidation_id,
            "account_id": f"account-{account}",
            "revision": revision,
        },
    )
    return ParseDict(
        body | {"request_id": request_id, "lease_ttl": f"{LEASE_S}s"}, pb.BeginClaimRequest()
    )
