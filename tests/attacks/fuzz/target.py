"""What a fuzz target is: a fact that has to hold for any bytes."""

import importlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

# Raises where something is wrong with what comes of these bytes.
Look = Callable[[bytes], None]
# Other bytes of at most so many, made of those given; the last number seeds what is drawn.
Mutate = Callable[[bytes, int, int], bytes]


@dataclass(frozen=True)
class Target:
    """A part of the service that takes bytes, and how inputs for it are found.

    `opened` gives what looks at one input; it may write to the folder that it is told. `words`
    are pieces that inputs are often made of. `mutate` knows the form of an input; without it
    bytes are changed as they come.
    """

    opened: Callable[[Path], AbstractContextManager[Look]]
    seeds: Callable[[], Iterable[bytes]]
    longest: int
    words: tuple[bytes, ...] = ()
    mutate: Mutate | None = None


# Each is the `TARGET` of the module of its name.
TARGETS: Final = ("rpc", "decimals", "rules", "keys", "log")


def target_of(name: str) -> Target:
    """The target of that name; what it does not need is not imported."""
    return cast(Target, importlib.import_module(f"tests.attacks.fuzz.{name}").TARGET)
