"""A soak in a short form; `make soak` is the long one."""

from pathlib import Path

from tests.attacks.soak.run import Plan, soak

SHORT = Plan(
    seconds=6,
    restarts=1,
    per_second=120,
    callers=8,
    streamers=2,
    retention_s=2,
    sample_s=1,
    rotate_s=2.5,
    reload_s=2,
    seed=3,
)


async def test_after_a_restart_under_load_all_is_answered_logged_purged_and_given_back(
    tmp_path: Path,
) -> None:
    report = await soak(SHORT, tmp_path)

    assert report.problems == []
    assert report.restarts == ["roll"]
    assert report.rotations >= 3
    assert report.tally.codes[0] > 200
    assert report.tally.codes.keys() >= {-1002, -1004, -1005, -1012, -1103, -1201, -1202}
    claims = [point.value for point in report.figures["claims"]]
    assert max(claims) > 0
    assert claims[-1] == 0
