"""All attacks: how much there is of each, what the attacker gets, and what it may cost in memory.

The bounds of memory are some twice what was seen, for machines and allocators differ. A bound that
is broken is broken by far more.
"""

from typing import Final

from tests.attacks.hostile import connections, floods, identities, requests, streams
from tests.attacks.hostile.attack import Attack

_LEFT = "left open"
_TAKEN_BACK = "RST_STREAM (REFUSED_STREAM|ENHANCE_YOUR_CALM)"
_TOO_LONG = "RESOURCE_EXHAUSTED: .*larger than max.*"
_HEADERS = "RESOURCE_EXHAUSTED.*"
_HEADERS_CUT = f"{_LEFT}|closed|{_HEADERS}|RST_STREAM INTERNAL_ERROR"
_EMPTY = r"UNAVAILABLE: Failed parsing HTTP/2 \(Too many zero length data frames\)"
_SENT_AWAY = "GOAWAY ENHANCE_YOUR_CALM: too_many_pings|closed"
_NOT_GRPC = (
    "INTERNAL: (Error parsing '.*' metadata|Illegal header key: Upper)"
    "|RST_STREAM INTERNAL_ERROR|UNIMPLEMENTED: Method not found!"
)

ATTACKS: Final = (
    Attack(connections.idle_connections, 200, 2000, _LEFT, 96),
    Attack(connections.half_open_connections, 200, 2000, f"{_LEFT}|closed|GOAWAY.*", 96),
    Attack(connections.silent_connections, 200, 2000, f"{_LEFT}|closed|GOAWAY.*", 96),
    Attack(connections.slow_headers, 50, 500, _LEFT, 64),
    Attack(floods.rapid_reset, 300, 2000, f"{_LEFT}|{_TAKEN_BACK}", 512),
    Attack(floods.ping_flood, 1000, 100_000, f"{_LEFT}|{_SENT_AWAY}", 32),
    Attack(floods.settings_flood, 5000, 100_000, _LEFT, 32),
    Attack(floods.settings_unread, 5000, 100_000, f"{_LEFT}|closed", 32),
    Attack(floods.continuation_flood, 200, 10_000, _HEADERS_CUT, 128),
    Attack(floods.empty_continuations, 5000, 100_000, _HEADERS_CUT, 32),
    Attack(floods.header_bomb, 10_000, 100_000, f"{_LEFT}|{_HEADERS}", 64),
    Attack(floods.empty_data, 5000, 100_000, f"{_LEFT}|closed|{_EMPTY}", 32),
    Attack(requests.huge_messages, 5, 500, f"{_LEFT}|{_TOO_LONG}", 32),
    Attack(requests.large_requests, 1, 20, f"{_LEFT}|INVALID_ARGUMENT: .*", 96),
    # Held until they end: docs/how-to/configuration.md says by how much.
    Attack(requests.announced_messages, 2, 200, f"{_LEFT}|RESOURCE_EXHAUSTED.*", 1792),
    Attack(requests.compressed_bombs, 1, 20, f"{_LEFT}|RESOURCE_EXHAUSTED: Decompressed.*", 96),
    Attack(requests.deep_nesting, 5, 100, f"{_LEFT}|INVALID_ARGUMENT: .*", 32),
    Attack(requests.unknown_fields, 1, 5, f"{_LEFT}|INVALID_ARGUMENT: .*", 256),
    Attack(requests.oversize_batches, 3, 500, f"{_LEFT}|INVALID_ARGUMENT: .*", 32),
    Attack(requests.explained_batches, 2, 15, f"{_LEFT}|OK", 512),
    # As many as fill a pipe that nobody reads, were each to leave a line on stderr.
    Attack(requests.many_headers, 400, 500, f"{_LEFT}|{_HEADERS}", 32),
    Attack(requests.huge_headers, 5, 500, f"{_LEFT}|{_HEADERS}", 32),
    Attack(requests.unknown_methods, 200, 5000, f"{_LEFT}|UNIMPLEMENTED: Method not found!", 32),
    Attack(requests.wrong_headers, 1, 20, f"{_LEFT}|{_NOT_GRPC}", 32),
    Attack(streams.endless_stream, 20, 1000, _LEFT, 32),
    # As many as calls may be in progress at once.
    Attack(streams.silent_streams, 1000, 5000, f"{_LEFT}|{_TAKEN_BACK}", 128),
    Attack(streams.unread_streams, 5, 100, _LEFT, 128),
    Attack(streams.unread_answers, 200, 1000, f"{_LEFT}|closed", 64),
    Attack(streams.unread_large_answers, 3, 500, f"{_LEFT}|RESOURCE_EXHAUSTED.*", 1280),
    Attack(identities.distinct_ids, 1, 1000, f"{_LEFT}|OK", 160),
    Attack(identities.distinct_requests, 300, 50_000, f"{_LEFT}|NOT_FOUND: .*", 64),
    Attack(identities.distinct_traces, 300, 50_000, f"{_LEFT}|OK", 64),
)
