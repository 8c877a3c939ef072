"""Workers that are replaced under load, in a short form; `make rolling` is the long one."""

from pathlib import Path

from tests.attacks.rolling import Plan, roll


async def test_nothing_that_was_acknowledged_is_lost_and_nothing_is_seen_but_what_may_be(
    tmp_path: Path,
) -> None:
    seen = await roll(Plan(rounds=2, workers=2, callers=6), tmp_path)

    assert (seen.lost, dict(seen.other_errors)) == ([], {})
    assert seen.calls == seen.answers + seen.unavailable + seen.cancelled
    assert seen.replaced == 4
    assert len(seen.acknowledged) > 20
