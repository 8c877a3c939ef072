"""Masked ids are the same hash everywhere; sampling leaves out accepted decisions alone."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from liquidation.config.options import MASKABLE
from liquidation.decisionlog.redaction import Masking, Sampling
from tests import samples
from tests.processes import serving
from tests.sidecars import dial

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
LINE: dict[str, Any] = {
    "account_id": "alice",
    "liquidator_id": "",
    "code": 0,
    "request": {
        "terms": {"liquidator_id": "bob"},
        "state": {"liquidation": {"account_id": "alice", "positions": [{"symbol": "X"}]}},
    },
}


def test_without_keys_a_line_stays_as_it_is() -> None:
    assert Masking((), "").apply(LINE) == LINE


def test_an_id_is_the_same_hash_wherever_it_stands_and_nothing_else_is_touched() -> None:
    masked = Masking(("account_id",), "secret").apply(LINE)

    assert masked["masked"] == ["account_id"]
    assert masked["account_id"] == masked["request"]["state"]["liquidation"]["account_id"]
    assert masked["account_id"].startswith("masked-")
    assert masked["request"]["terms"] == {"liquidator_id": "bob"}
    assert masked["code"] == 0
    assert "alice" not in json.dumps(masked)


def test_an_absent_id_stays_absent() -> None:
    assert Masking(("liquidator_id",), "secret").apply(LINE)["liquidator_id"] == ""


def test_hashes_are_stable_and_depend_on_the_key() -> None:
    one, same, other = (Masking(MASKABLE, key).apply(LINE) for key in ("k", "k", "another"))

    assert one == same
    assert one["account_id"] != other["account_id"]


@pytest.mark.parametrize(
    ("share", "kept"), [("1", 1000), ("0", 0), ("0.1", 100), ("0.333", 333)], ids=str
)
def test_a_share_is_kept_evenly(share: str, kept: int) -> None:
    sampling = Sampling(Decimal(share))

    assert sum(sampling.keeps() for _ in range(1000)) == kept


async def test_a_server_masks_what_it_is_told_to_and_samples_accepted_decisions(
    tmp_path: Path,
) -> None:
    accepted = samples.check(samples.low_request()).SerializeToString()
    refused = samples.check(samples.low_request({"ratio_qty_request": "2"})).SerializeToString()
    arguments = ("--log-file", "x.log", "--log-sample", "0.25", "--log-redact", "account_id")
    with serving(tmp_path, *arguments, "--log-redact", "liquidator_id") as process:
        async with dial(process.address) as channel:
            call = channel.unary_unary(CHECK)
            for _ in range(8):
                await call(accepted)
            for _ in range(3):
                with pytest.raises(Exception, match="range 0-1"):
                    await call(refused)
        process.popen.terminate()
        process.popen.wait()

    text = (tmp_path / "x.log").read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "decision"]
    assert [line["outcome"] for line in lines] == ["accepted"] * 2 + ["refused"] * 3
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert {line["sample"] for line in lines} == {"0.25"}
    assert "account-low" not in text
    assert "liquidator-1" not in text
    assert len({line["account_id"] for line in lines}) == 1
