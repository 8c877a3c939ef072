"""What gRPC's channel is told: the bounds of connections, messages and headers."""

from typing import Final

from liquidation.config.settings import Settings
from liquidation.transport.base import Options

__all__ = ["channel_options"]

_MS: Final = 1000
# A request over the service's own limit gets -1005 and its log line; only one that is far larger is
# cut off by gRPC itself. What gRPC reads and inflates before anybody is asked is as much: others
# wait for that, and it is held for a caller who keeps the end back.
_TRANSPORT_FACTOR: Final = 2
# Calls that have come and that the transport has not taken up. Beyond gRPC's own default of 1000
# it cancels calls by chance, and where somebody floods it with calls, those of others too. A call
# that was taken back counts until it is taken up, and holds some 45 KiB until then.
_MOST_NOT_YET_TAKEN: Final = 10_000
# What gRPC takes for "never", in milliseconds.
_NEVER_MS: Final = 2**31 - 1
# A connection that says nothing for so long is asked whether it still stands, and closed where no
# answer comes: a host that vanished leaves no connection behind.
_ASK_AFTER_MS: Final = 60 * _MS
_ANSWER_WITHIN_MS: Final = 20 * _MS
# How often clients may ask the same; gRPC's own default of five minutes closes the connections of
# those who guard against proxies that drop idle ones.
_ASKED_AT_MOST_EACH_MS: Final = 10 * _MS
# How long a connection may take to shake hands; gRPC's own default is two minutes.
_HANDSHAKE_WITHIN_MS: Final = 10 * _MS


def channel_options(settings: Settings, max_request_bytes: int, *, shared: bool) -> Options:
    """The options of a server within the bounds that are set.

    `max_request_bytes` is the service's own limit. `shared` lets other processes of this user
    listen on the same port.
    """
    return (
        # Two servers on one port would share its calls without anybody noticing.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", _TRANSPORT_FACTOR * max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.server.max_pending_requests", _MOST_NOT_YET_TAKEN),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_NOT_YET_TAKEN),
        # By its own measure gRPC would take 4 MiB of each stream before anybody reads it.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.max_connection_idle)),
        ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace * _MS)),
        # Two bounds with one value: between them gRPC would refuse by chance.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_WITHIN_MS),
        ("grpc.keepalive_time_ms", _ASK_AFTER_MS),
        # Two names of one bound: gRPC goes by the second, whose own default is a minute.
        ("grpc.keepalive_timeout_ms", _ANSWER_WITHIN_MS),
        ("grpc.http2.ping_timeout_ms", _ANSWER_WITHIN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ASKED_AT_MOST_EACH_MS),
    )


def _milliseconds(seconds: float) -> int:
    """A span for gRPC, where 0 is never."""
    return min(int(seconds * _MS), _NEVER_MS) if seconds else _NEVER_MS
