"""A first look at the whole: requests through a real server."""

from tests import samples
from tests.sidecars import Running


async def test_a_claim_on_everything_is_accepted(server: Running) -> None:
    response = await server.check(samples.check(samples.low_request()))

    assert response.decision.accepted
    assert response.decision.total_notional == samples.LOW_NOTIONAL
    assert [(each.symbol, each.qty) for each in response.positions] == [
        ("PERP_BTC_USDC", "0.5"),
        ("PERP_ETH_USDC", "-4"),
    ]


async def test_a_small_ratio_is_refused_with_the_least_that_passes(server: Running) -> None:
    refused = await server.refused(
        samples.check(samples.low_request({"ratio_qty_request": "0.3333"}))
    )

    assert refused.code == -1201
    assert refused.message == "least req ratio should = 0.3334"
    (line,) = await server.lines(count=1)
    assert line["code"] == -1201
    assert line["seq"] == 1
