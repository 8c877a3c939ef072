"""Which layer of a call a place in the code belongs to."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["BELOW", "LAYERS", "OWN_THREADS", "layer_of", "named"]

# What no frame of the service is in, on a thread that runs Python: the event loop's, nearly all.
BELOW: Final = "event loop: grpc.aio, uvloop, kernel"
# What runs no Python at all.
OWN_THREADS: Final = "gRPC's own threads, kernel"

_IN: Final = "message in: parse, unknown fields"
_OUT: Final = "answer out: message or status"
_DOOR: Final = "door, guards, turns"
_READ: Final = "reading the request: texts to numbers"
_RULES: Final = "rules"
_STORE: Final = "store"
_LOG: Final = "log line"
_CASE: Final = "use case: what holds the others together"

# By the file below `liquidation/`, or the folder; the longest that fits counts. What stands here
# with None is used by many, and counts for whoever uses it.
LAYERS: Final[dict[str, str | None]] = {
    "service/wire.py": _OUT,
    "service/unknown.py": _IN,
    "service/refusals.py": _OUT,
    "service/": _DOOR,
    "service/rules_servicer.py": _CASE,
    "service/claim_servicer.py": _CASE,
    "desk.py": _CASE,
    "claiming.py": _CASE,
    "register.py": _CASE,
    "failures.py": _CASE,
    "core/intake.py": _READ,
    "core/leases.py": _READ,
    "core/texts.py": _READ,
    "core/decide.py": _RULES,
    "core/rules.py": _RULES,
    "core/margin.py": _RULES,
    "core/facts.py": _RULES,
    "core/model.py": None,
    "core/numbers.py": None,
    "core/value.py": None,
    "core/catalogue.py": None,
    "core/policy.py": None,
    "core/keys.py": _DOOR,
    "core/record.py": _LOG,
    "logs/": _LOG,
    "logbook.py": _LOG,
    "store/": _STORE,
    "metrics/": _DOOR,
    "background.py": None,
    "claims.py": None,
    "configuration.py": None,
}
# Functions of `service/wire.py` that read; the others write.
_READING: Final = {"parse", "sent", "begin_sent", "_sent", "snapshot_text"}

_FRAME: Final = re.compile(r"(?P<function>\S+) \(.*liquidation/(?P<file>[\w/]+\.py)")


def layer_of(frames: Iterable[str]) -> str:
    """The layer of a stack, whose frames come outermost first, as py-spy writes them."""
    for frame in reversed(list(frames)):
        found = _FRAME.match(frame)
        if found is None:
            continue
        if found["file"] == "service/wire.py" and found["function"] in _READING:
            return _IN
        if layer := named(found["file"]):
            return layer
    return BELOW


def named(file: str) -> str | None:
    """What `LAYERS` says of a file below `liquidation/`; None too where it says nothing."""
    fitting = [
        name for name in LAYERS if file == name or (name[-1] == "/" and file.startswith(name))
    ]
    return LAYERS[max(fitting, key=len)] if fitting else None
