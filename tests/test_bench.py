"""The benchmarks run, in a short form; their speed is theirs to tell, not the tests'."""

from bench.many_liquidations import measure


def test_many_liquidations_stay_out_of_memory() -> None:
    figures = measure(few=10, many=10_000, rounds=2, calls=20)

    assert figures["resident_mib"] < 200
    assert figures["ratio"] > 0
