"""Walks through the graph of the model that take every transition of it, for stores to follow.

States that differ in names alone are one. Whether an answer was heard is a matter of the caller, of
which a store knows nothing: here no answer is.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.attacks.model.protocol import Protocol
from tests.attacks.model.state import Action, State
from tests.attacks.model.world import Bounds, Step, canonical, steps


class _Edge(NamedTuple):
    """A transition that changes something, whatever the names are."""

    before: State
    kind: str
    after: State


class _Cover:
    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._looked_at: set[State] = set()
        self._taken: set[_Edge] = set()

    def walk(self, state: State) -> Iterator[Action]:
        """On from a state, by transitions that no walk took, for as long as there are any."""
        while True:
            here = canonical(state)
            options = list(_options(state, self._bounds))
            if here not in self._looked_at:
                self._looked_at.add(here)
                yield from (step.action for step in options if step.after == state)
            step = next((each for each in options if self._is_new(here, state, each)), None)
            if step is None:
                return
            yield step.action
            state = step.after

    def _is_new(self, here: State, state: State, step: Step) -> bool:
        if step.after == state:
            return False
        edge = _Edge(here, _kind(step.action), canonical(step.after))
        if edge in self._taken:
            return False
        self._taken.add(edge)
        return True


def walks(bounds: Bounds) -> Iterator[list[Action]]:
    """Walks from the first state that together take every transition.

    All that changes nothing in a state is done there at the first visit.
    """
    cover = _Cover(bounds)
    for state, way in _places(bounds):
        while onwards := list(cover.walk(state)):
            yield [*way, *onwards]


def _places(bounds: Bounds) -> list[tuple[State, list[Action]]]:
    """Each state as it is come to on a shortest way, and that way."""
    places: list[tuple[State, list[Action]]] = [(bounds.initial, [])]
    seen = {canonical(bounds.initial)}
    for state, way in places:
        for step in _options(state, bounds):
            if (key := canonical(step.after)) not in seen:
                seen.add(key)
                places.append((step.after, [*way, step.action]))
    return places


def _options(state: State, bounds: Bounds) -> Iterator[Step]:
    return (step for step in steps(Protocol(), state, bounds) if not step.heard)


def _kind(action: Action) -> str:
    what = getattr(action, "what", "")
    force = " by force" if what and getattr(action, "token", 0) is None else ""
    return f"{type(action).__name__} {what}{force}"
