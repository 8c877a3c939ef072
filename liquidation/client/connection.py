"""What both clients do alike: how they connect, what goes with each call, how bytes are made."""

import re
from typing import Any, Final

from google.protobuf.message import Message

from liquidation.client.calls import Rpc

# How long a call may take, in seconds, unless the client is told otherwise.
DEFAULT_TIMEOUT: Final = 10.0
# The largest answer: 1000 explained claims of 256 positions each are about 80 MiB.
_MAX_RECEIVED_BYTES: Final = 128 * 1024 * 1024
OPTIONS: Final = (("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),)

# What a header takes: gRPC fails a call with anything else as if the server were at fault.
_KEY: Final = re.compile(r"[!-~]+")


def authorization(api_key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that shows a key, none for "". It goes over every channel, plaintext included.

    Raises:
        ValueError: the key cannot be sent. The text does not show it.
    """
    if not api_key:
        return ()
    if _KEY.fullmatch(api_key) is None:
        raise ValueError("api_key must be printable ASCII without spaces or line ends")
    return (("authorization", f"Bearer {api_key}"),)


def unary_call(channel: Any, rpc: Rpc[..., Any]) -> Any:
    """What carries out an RPC of one request and one answer on a channel of either kind."""
    return channel.unary_unary(
        rpc.path, request_serializer=_serialized, response_deserializer=rpc.response.FromString
    )


def stream_call(channel: Any, rpc: Rpc[..., Any]) -> Any:
    """The same for an RPC with a stream of requests and a stream of answers."""
    return channel.stream_stream(
        rpc.path, request_serializer=_serialized, response_deserializer=rpc.response.FromString
    )


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
