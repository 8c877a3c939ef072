"""One failover of PostgreSQL, and the proof that a claim that it loses is seen."""

from pathlib import Path

from tests.attacks.torture.failover import Plan, fail_over
from tests.attacks.torture.history import violations

SHORT = Plan(before=100, after=100, sidecars=2, seed=3)
# The standby lacks what the primary has acknowledged at last.
HELD_BACK = Plan(before=100, after=50, sidecars=1, seed=3, hold_back=True)


async def test_a_standby_that_takes_over_has_every_acknowledged_claim(tmp_path: Path) -> None:
    done = await fail_over(SHORT, tmp_path)

    assert list(violations(done.history)) == []
    assert len(done.granted) == SHORT.sidecars
    # Claims from before and from after it.
    tokens = [(each.answered, each.token) for each in done.seen.begins if each.code == 0]
    assert min(tokens)[0] < done.killed < done.asked < max(tokens)[0]


async def test_what_a_standby_was_not_sent_is_found_lost(tmp_path: Path) -> None:
    done = await fail_over(HELD_BACK, tmp_path)

    assert any(each.startswith("lost") for each in violations(done.history))
