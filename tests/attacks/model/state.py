"""The words of the model: a state, what may happen in it, and what is answered.

All times are ticks of the store's clock that are left.
"""

from enum import StrEnum
from typing import Final, NamedTuple

# The codes of the contract that a model without numbers and ids can give; 0 is granted, or done.
OK: Final = 0
NOT_FOUND: Final = -1006
DUPLICATED: Final = -1007
IN_PROCESS: Final = -1012
REFUSED: Final = -1202

# Ticks that a lease lasts: two, so that one may run for a while without running out.
LEASE: Final = 2


class Phase(StrEnum):
    """How a claim stands; the four states of the contract."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Liquidation(NamedTuple):
    """A liquidation as it is stored; revision 0 is not known."""

    account: int
    revision: int = 0
    closed: bool = False


class Claim(NamedTuple):
    """A claim that was granted; `left` is how many ticks its lease still runs."""

    request: int
    liquidation: int
    terms: int
    revision: int
    token: int
    state: Phase
    left: int


class Told(NamedTuple):
    """The last acknowledgement that a caller heard: of which claim, and how it stood."""

    token: int
    state: Phase


class State(NamedTuple):
    """The store, and what is true of the world around it.

    Of each account `settled` is the revision of its last completed claim, 0 without one. `counter`
    is the store's last token. `told` (of each request) and `greatest` (the greatest token that was
    ever granted) are the world's: no protocol may look at them.
    """

    liquidations: tuple[Liquidation, ...]
    settled: tuple[int, ...]
    claims: tuple[Claim, ...]
    counter: int
    told: tuple[Told | None, ...]
    greatest: int = 0

    def claim_of(self, request: int) -> Claim | None:
        """The claim that is kept under a request_id."""
        for claim in self.claims:
            if claim.request == request:
                return claim
        return None

    def account_of(self, claim: Claim) -> int:
        """Whose slot a claim is about."""
        return self.liquidations[claim.liquidation].account


class Begin(NamedTuple):
    """A BeginClaim; `revision` is that of the snapshot that it brings, 0 without one."""

    request: int
    liquidation: int
    terms: int
    revision: int


class Change(NamedTuple):
    """A renewal, or an end of the claim of a request; a token of None is an operator's force."""

    what: str
    request: int
    token: int | None


class Put(NamedTuple):
    """A snapshot."""

    liquidation: int
    revision: int


class Close(NamedTuple):
    """The end of a liquidation."""

    liquidation: int


class Wait(NamedTuple):
    """The store's clock goes on; by more than one tick it jumps."""

    ticks: int


class Event(StrEnum):
    """What happens without a caller."""

    PURGE = "purge"  # of all claims that ended
    WRITE_DOWN = "write down"  # the background notes leases that ran out
    RESTART = "restart"  # every process is killed, and starts again
    SET_WALL = "set wall"  # a clock that is not the store's jumps


class Forget(NamedTuple):
    """A caller crashes: all that it keeps is the request_id, which it wrote down."""

    request: int


Action = Begin | Change | Put | Close | Wait | Event | Forget


class Answer(NamedTuple):
    """The code of an answer, the claim that it tells of, and whether the call changed it."""

    code: int
    claim: Claim | None = None
    changed: bool = False


def initial(accounts: tuple[int, ...], requests: int) -> State:
    """An empty store: of each liquidation to come the account, and how many request_ids."""
    return State(
        liquidations=tuple(Liquidation(account) for account in accounts),
        settled=(0,) * (max(accounts) + 1),
        claims=(),
        counter=0,
        told=(None,) * requests,
    )
