"""Every state that a protocol can reach within bounds, breadth first.

`python -m tests.attacks.model.exhaustive` searches the bounds of the long form and prints
what it saw.
"""

import sys
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from tests.attacks.model.invariants import PROMISES, broken_by, broken_in
from tests.attacks.model.protocol import Protocol
from tests.attacks.model.state import State
from tests.attacks.model.world import Bounds, Step, canonical, steps

# All in one would take hours: each has what the others leave out.
LONG: Final = (
    Bounds(accounts=(0, 1), requests=3),
    Bounds(accounts=(0, 1), requests=2, terms=2, stale=True),
    Bounds(accounts=(0, 0), requests=2),
)

# How each state was come to first: from which, and by which step.
_Origin = dict[State, tuple[State, Step] | None]


@dataclass
class Seen:
    """What a search saw: how many states and transitions, and how far from the first state."""

    states: int = 1
    transitions: int = 0
    depth: int = 0


class Broken(Exception):  # noqa: N818 - it is what was found, not an error of the search
    """Invariants do not hold; the steps lead there, and no fewer do."""

    def __init__(self, invariants: list[str], path: list[Step]) -> None:
        super().__init__("\n".join([", ".join(invariants), *map(_told, path)]))
        self.invariants = invariants
        self.path = path


def explore(
    protocol: Protocol,
    bounds: Bounds,
    key: Callable[[State], State] = canonical,
    promises: Container[str] = PROMISES,
) -> Seen:
    """Searches all states, those with one `key` as one, and judges them by `promises`.

    By `canonical` the names in a path may be others after each step; for a path to read, search
    without it.

    Raises:
        Broken: a promise does not hold in a state, or over a transition.
    """
    seen = Seen()
    origin: _Origin = {key(bounds.initial): None}
    level = list(origin)
    while level:
        found = []
        for state in level:
            for step in steps(protocol, state, bounds):
                seen.transitions += 1
                _judge(broken_by(state, step), promises, origin, state, step)
                if step.after is state or (after := key(step.after)) in origin:
                    continue
                origin[after] = (state, step)
                found.append(after)
                _judge(broken_in(after), promises, origin, after)
        level = found
        seen.depth += bool(level)
    seen.states = len(origin)
    return seen


def _judge(
    broken: list[str], promises: Container[str], origin: _Origin, state: State, *last: Step
) -> None:
    if any(each in promises for each in broken):
        raise Broken(broken, [*_path(origin, state), *last])


def _path(origin: _Origin, state: State) -> list[Step]:
    path = []
    while (came := origin[state]) is not None:
        state, step = came
        path.append(step)
    return path[::-1]


def _told(step: Step) -> str:
    code = f"{step.answer.code}{'' if step.heard else ', not heard'}"
    return f"  {step.action!r}: {code}"


def main() -> None:
    """Prints what a search of each of the long form's bounds saw."""
    for bounds in LONG:
        begun = time.process_time()
        seen = explore(Protocol(), bounds)
        took = time.process_time() - begun
        sys.stdout.write(
            f"{bounds}: {seen.states} states, {seen.transitions} transitions, "
            f"{seen.depth} steps deep, {took:.0f} s\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
