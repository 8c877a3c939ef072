"""The naive build answers as the service does, and leaves its lines: only its edges are plain."""

import json
from pathlib import Path

from bench.contestants import running
from bench.scenarios import SCENARIOS, put_stored, verify

ASKED = ("accepted", "refused", "batch of 10", "stream of 128", "begin")


def test_its_answers_and_its_lines_are_those_of_the_service(tmp_path: Path) -> None:
    lines = {}
    for name in ("ours", "naive"):
        with running(name, tmp_path) as server:
            put_stored(server.address)
            for scenario in ASKED:
                verify(server.address, SCENARIOS[scenario])
        told = map(json.loads, server.log.read_text().splitlines())
        lines[name] = [line for line in told if line["event"] in ("decision", "claim")]

    ours, naive = lines["ours"], lines["naive"]
    for key in ("event", "rpc", "outcome", "code", "message", "total_notional"):
        assert [line[key] for line in naive] == [line[key] for line in ours], key
    assert naive[0]["request"] == ours[0]["request"]
