"""What gRPC's C core is told by its environment. It reads that once, when it is imported."""

import mmap
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

EXPERIMENTS: Final = "GRPC_EXPERIMENTS"
VERBOSITY: Final = "GRPC_VERBOSITY"
# With gRPC's own threads listening, an answer passes through several of them. With this experiment
# off it is sent by the thread that made it: some 4 context switches a call in place of 10, and an
# empty call at one in flight takes 0.7 of the time (bench/README.md). It is no documented switch.
_LISTENER: Final = "event_engine_listener"


def prepare() -> None:
    """Sets what makes calls cheaper, and keeps gRPC quiet; to be called before it is imported.

    What the environment says already stays, and a gRPC that does not know the switch is left alone.
    """
    # It writes a line to stderr for each call with too many headers, and for each handshake that
    # failed, and its threads wait where nobody reads those: any caller could stop the server.
    os.environ.setdefault(VERBOSITY, "NONE")
    if EXPERIMENTS not in os.environ and _is_known(_LISTENER):
        os.environ[EXPERIMENTS] = f"-{_LISTENER}"


def _is_known(experiment: str) -> bool:
    """Whether the installed gRPC has an experiment of that name: names stand in it as texts."""
    spec = find_spec("grpc")
    if spec is None or spec.origin is None:
        return False
    needle = b"\0" + experiment.encode() + b"\0"
    for library in (Path(spec.origin).parent / "_cython").glob("cygrpc*.so"):
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            return text.find(needle) >= 0
    return False
