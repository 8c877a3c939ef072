"""What requests meet: rules in force, and accounts with what is stored of them.

What is drawn from a `Random` may be drawn from one of Hypothesis's, or from one with a seed.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.attacks.oracle import drawing
from tests.attacks.oracle.answers import InForce, State
from tests.attacks.oracle.drawing import ONE, written
from tests.attacks.oracle.evaluator import RULES
from tests.attacks.oracle.snapshots import drawn_snapshot

Json = dict[str, Any]

# Modes of these may be changed; the others hold up what later rules look at.
RELAXABLE = sorted(set(RULES) - {"well_formed", "liquidation_known", "tier_shape"})
_MODES = ["shadow", "shadow", "off", "enforce"]
_THRESHOLDS = [0, 1, ONE // 10, 5000 * ONE, 10000 * ONE, 10000 * ONE, drawing.HIGHEST]


@dataclass(frozen=True)
class Subject:
    """An account, and what is stored of it.

    `stored` is the snapshot of `liquidation_id`. One claim on the account may have been completed,
    and another may be active.
    """

    account_id: str
    liquidation_id: int
    revision: int
    stored: Json | None = None
    closed: bool = False
    completed_revision: int | None = None
    is_claimed: bool = False

    @property
    def claimed_revision(self) -> int:
        """The revision that the active claim is on; it is above that of the completed one."""
        return (self.completed_revision or 0) + 1

    @property
    def claimed_id(self) -> int:
        """The liquidation of its claims: its own where what is stored is newer, else another."""
        if self.stored is None or self.closed or self.claimed_revision >= self.revision:
            return self.liquidation_id + 1
        return self.liquidation_id

    @property
    def is_open(self) -> bool:
        """Whether the account has an open liquidation."""
        has_claims = self.is_claimed or self.completed_revision is not None
        return has_claims or (self.stored is not None and not self.closed)


@dataclass
class World:
    """Rules, and accounts under them. `claims` has the id of the active claim of each account."""

    in_force: InForce
    subjects: list[Subject]
    number: int
    claimant: str = "claimant-1"
    claims: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id = {each.liquidation_id: each for each in self.subjects}
        self._by_account = {each.account_id: each for each in self.subjects}
        self.open_accounts = frozenset(each.account_id for each in self.subjects if each.is_open)

    @property
    def unknown_id(self) -> int:
        """The id of no liquidation."""
        return self.number * 1000 + 999

    @property
    def stranger(self) -> str:
        """An account that nothing is stored of."""
        return f"stranger-{self.number}"

    def state(self, request: Json) -> State:
        """What is stored about a request."""
        subject = self._by_id.get(request.get("terms", {}).get("liquidation_id", 0))
        sent: Json = request.get("liquidation", {})
        if subject is not None and subject.stored is not None:
            account_id = subject.account_id
        else:
            account_id = sent.get("account_id", "")
        holder = self._by_account.get(account_id)
        return State(
            stored=None if subject is None else subject.stored,
            closed=subject is not None and subject.closed,
            open_accounts=self.open_accounts,
            active_claim=self.claims.get(account_id, ""),
            last_completed_revision=None if holder is None else holder.completed_revision,
        )


@st.composite
def rules_in_force(draw: st.DrawFn) -> InForce:
    """Thresholds of both tiers, and modes of some rules."""
    bounds = st.sampled_from(_THRESHOLDS) | st.integers(0, drawing.HIGHEST)
    modes = st.dictionaries(st.sampled_from(RELAXABLE), st.sampled_from(_MODES), max_size=4)
    thresholds = {tier: written(draw(bounds)) for tier in ("TIER_LOW", "TIER_HIGH")}
    return InForce(thresholds, draw(modes))


def drawn_world(random: Random, in_force: InForce, number: int, subjects: int) -> World:
    """A world of so many accounts; `number` makes its ids its own."""
    drawn = [_subject(random, in_force, number, index) for index in range(subjects)]
    return World(in_force, drawn, number)


def _subject(random: Random, in_force: InForce, number: int, index: int) -> Subject:
    account_id, liquidation_id = f"account-{number}-{index}", number * 1000 + 2 * index + 1
    revision = random.randint(2, 4)
    stored = None
    if random.randint(0, 2):
        stored = drawn_snapshot(random, in_force, liquidation_id, account_id, revision)
    completed = None
    if random.randint(0, 3) == 0:
        completed = revision + random.randint(-1, 1)
    return Subject(
        account_id,
        liquidation_id,
        revision,
        stored,
        closed=stored is not None and random.randint(0, 7) == 0,
        completed_revision=completed,
        is_claimed=random.randint(0, 7) == 0,
    )


def rules_text(in_force: InForce, version: str) -> str:
    """The rules as a file has them."""
    modes = "\n".join(f'{rule} = "{mode}"' for rule, mode in in_force.modes.items())
    return f"""
        version = "{version}"
        [tiers]
        low = {{ min_claim_notional = "{in_force.thresholds["TIER_LOW"]}" }}
        high = {{ min_claim_notional = "{in_force.thresholds["TIER_HIGH"]}" }}
        [modes]
        {modes}
        """
