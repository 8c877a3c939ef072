"""What a line tells of a candidate is where two servers, under either rules, differ."""

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from liquidation.rules.policy import RULE_NAMES
from tests import samples
from tests.service.test_candidate_rules import BATCH, batch_of, logged, written
from tests.sidecars import running
from tests.unit.drawing import amounts, liquidations, ratios
from tests.unit.seeded import seeded

# The modes of the others cannot be changed.
RELAXABLE = sorted(set(RULE_NAMES) - {"well_formed", "liquidation_known", "tier_shape"})
# How a pair of verdicts may differ, or not.
KINDS = ("same", "accepted refused", "refused accepted", "refused refused")
# The words by which a candidate's verdict is told.
COMPARED = ("outcome", "code", "name", "message", "rule")
SEEN: Counter[str] = Counter()


@st.composite
def rules(draw: st.DrawFn) -> str:
    """A rules file with drawn thresholds and modes."""
    low, high = (
        draw(st.one_of(st.sampled_from(["0", "10000", "100000000"]), amounts())) for _ in range(2)
    )
    chosen = draw(st.lists(st.sampled_from(RELAXABLE), max_size=3, unique=True))
    modes = [f'{rule} = "{draw(st.sampled_from(["shadow", "off"]))}"' for rule in chosen]
    tiers = [f'low.min_claim_notional = "{low}"', f'high.min_claim_notional = "{high}"']
    return "\n".join(['version = "drawn"', "[tiers]", *tiers, "[modes]", *modes])


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request as protobuf JSON, of which most are well formed."""
    liquidation = draw(liquidations())
    # Else most drawn ones are refused for that alone, before anything that rules differ in.
    if "margin_ratio" in liquidation and draw(st.integers(0, 3)):
        liquidation["margin_ratio"] = "-1"
    symbols = [each["symbol"] for each in liquidation["positions"]]
    terms = {"liquidation_id": liquidation["liquidation_id"], "liquidator_id": "liquidator-1"}
    ratio = st.one_of(st.just("1"), st.just("1"), ratios(), st.sampled_from(["2", "-0.5", "x"]))
    if liquidation["tier"] == "TIER_LOW":
        terms["ratio_qty_request"] = draw(ratio)
    else:
        terms["symbols"] = [
            {"symbol": symbol, "ratio_qty_request": draw(ratio)} for symbol in symbols
        ]
    if draw(st.booleans()):
        terms["limit_price"] = {symbols[0]: draw(amounts())}
    if not draw(st.integers(0, 3)):
        terms["extra_liquidation_ratio"] = draw(ratio)
    return {"terms": terms, "liquidation": liquidation}


async def verdicts(directory: Path, batch: bytes, **files: Any) -> list[dict[str, Any]]:
    """The lines of a server's decisions on a batch; `files` are the rules that it is given."""
    with TemporaryDirectory(dir=directory) as apart:
        async with running(Path(apart), **files) as server:
            await server.raw(BATCH, batch)
        return logged(Path(apart), "decision")


# What differs is told at once: each case takes three servers.
@settings(seeded(6), phases=(Phase.generate,))
@given(rules(), rules(), st.lists(requests(), min_size=30, max_size=60))
def _disagreement_is_the_difference(
    in_force: str, candidate: str, drawn: list[dict[str, Any]]
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        first = written(directory, in_force, "first.toml")
        second = written(directory, candidate, "second.toml")
        batch = batch_of(*map(samples.check, drawn))

        async def asked() -> tuple[list[dict[str, Any]], ...]:
            return await asyncio.gather(
                verdicts(directory, batch, rules=first, candidate_rules=second),
                verdicts(directory, batch, rules=first),
                verdicts(directory, batch, rules=second),
            )

        together, one, other = asyncio.run(asked())
    for line, by_first, by_second in zip(together, one, other, strict=True):
        said, says = ({key: each[key] for key in COMPARED} for each in (by_first, by_second))
        assert {key: line[key] for key in COMPARED} == said
        expected = None if said == says else {"rules_version": "drawn", **says}
        assert line.get("candidate") == expected
        SEEN["same" if said == says else f"{said['outcome']} {says['outcome']}"] += 1


def test_what_is_told_is_where_two_servers_under_either_rules_answer_differently() -> None:
    SEEN.clear()

    _disagreement_is_the_difference()

    # It shows nothing where what is drawn makes no difference.
    assert min(SEEN[kind] for kind in KINDS) >= 3, SEEN
