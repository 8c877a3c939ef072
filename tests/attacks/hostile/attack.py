"""What an attack is: how it goes, how much of it there is, and what must come of it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

# What the server said to the attacker, and how often.
Got = Counter[str]


@dataclass
class Effort:
    """How much an attacker does, and for how long those who hold something hold it."""

    many: int
    # Set by the attacker once all that it holds is in place.
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    # Set by whoever looks at the server meanwhile, once enough was seen.
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self) -> None:
        """Holds what is held until enough was seen of it."""
        self.placed.set()
        await self.enough.wait()


@dataclass(frozen=True)
class Attack:
    """One kind of attack."""

    # Addresses the server, as much as told, and gives what it got.
    run: Callable[[str, Effort], Coroutine[Any, Any, Got]]
    # How much of it the short form does, and the long form at once, again and again.
    short: int
    long: int
    # A pattern that all that the attacker gets has to match.
    gets: str
    # How much more the server may hold in memory at most, in MiB.
    grows_mib: int

    @property
    def name(self) -> str:
        """What it is called: the name of its function, in words."""
        return self.run.__name__.replace("_", " ")
