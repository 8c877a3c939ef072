"""What is found out about one part of what a server is told."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Whether a server can serve with it: it can, it can but look at this, it cannot."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and that in a line of words without anything secret."""

    what: str
    state: State
    told: str


def ok(what: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding(what, State.OK, told)


def note(what: str, told: str) -> Finding:
    """The server serves, and whoever starts it should know this."""
    return Finding(what, State.NOTE, told)


def wrong(what: str, told: str) -> Finding:
    """The server does not start, or refuses every call for as long as it is so."""
    return Finding(what, State.WRONG, told)
