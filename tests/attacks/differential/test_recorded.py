"""The present release answers and logs what a recorded one did."""

from pathlib import Path

from tests.attacks.differential.recording import read, replay
from tests.attacks.differential.sidecar import Release
from tests.attacks.oracle.evaluator import RULES

RECORDING = Path(__file__).parent / "recorded.jsonl.xz"
HERE = Path(__file__).parents[3]


async def test_recorded_calls_have_the_recorded_answers_and_log_lines(tmp_path: Path) -> None:
    report = await replay(
        read(RECORDING),
        Release(HERE),
        lambda directory: f"sqlite:{directory / 'store.db'}",
        tmp_path,
    )

    assert [str(each) for each in report.found[:10]] == []
    assert report.calls > 1500
    assert {code.partition(" ")[2] for code in report.codes} >= set(RULES)
