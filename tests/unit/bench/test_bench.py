"""The benchmarks of long logs and large stores run, in a short form."""

from pathlib import Path

from bench import log_stats, many_liquidations


def test_many_liquidations_stay_out_of_memory(tmp_path: Path) -> None:
    figures = many_liquidations.measure(10, 10_000, rounds=2, calls=20, directory=tmp_path)

    assert figures["resident MiB, 10,000"] < 200
    assert figures["check, many / few"] > 0


def test_a_long_log_is_read_by_each_command(tmp_path: Path) -> None:
    log_stats.write(tmp_path / "x.log", 2_000)

    figures = log_stats.measure(tmp_path / "x.log", rounds=1)

    assert "parsing alone" in figures
    assert all(seconds > 0 and peak > 1 for seconds, peak in figures.values())
