"""The benchmarks run, in a short form; their speed is theirs to tell, not the tests'."""

from pathlib import Path

from bench.log_stats import compare, write
from bench.many_liquidations import measure


def test_many_liquidations_stay_out_of_memory() -> None:
    figures = measure(few=10, many=10_000, rounds=2, calls=20)

    assert figures["resident_mib"] < 200
    assert figures["ratio"] > 0


def test_a_log_is_counted_as_well_as_parsed(tmp_path: Path) -> None:
    write(tmp_path / "x.log", 2_000)

    assert all(seconds > 0 for seconds in compare(tmp_path / "x.log", 2_000))
