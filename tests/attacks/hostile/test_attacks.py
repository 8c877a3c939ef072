"""Each attack in small: others get their answers, memory is bounded, and all is given back."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.attacks.hostile.attack import Attack, Effort
from tests.attacks.hostile.attacks import ATTACKS
from tests.attacks.hostile.bystander import Bystander
from tests.attacks.hostile.server import (
    descriptors,
    forget_peak,
    peak_mib,
    resident_mib,
    serving_under_attack,
)
from tests.processes import Process
from tests.sidecars import dial

# Calls that others make while something is held.
_MEANWHILE = 20
# An attacker who waits for what never comes fails the test, and does not hang it.
_PATIENCE_S = 120


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server for all attacks, as a hostile caller would have it."""
    with serving_under_attack(tmp_path_factory.mktemp("attacked")) as process:
        yield process


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_others_are_answered_and_memory_is_bounded_and_given_back(
    attacked: Process, attack: Attack
) -> None:
    pid = attacked.popen.pid
    async with asyncio.timeout(_PATIENCE_S), dial(attacked.address) as channel:
        bystander = Bystander(channel)
        await bystander.call()
        before, files = resident_mib(pid), descriptors(pid)
        forget_peak(pid)
        effort = Effort(attack.short)

        attacking = asyncio.create_task(attack.run(attacked.address, effort))
        placed = asyncio.create_task(effort.placed.wait())
        await asyncio.wait([attacking, placed], return_when=asyncio.FIRST_COMPLETED)
        for _ in range(_MEANWHILE):
            await bystander.call()
        await bystander.look()
        effort.enough.set()
        got = await attacking

        assert attacked.popen.poll() is None
        assert peak_mib(pid) - before <= attack.grows_mib
        assert [each for each in got if not re.fullmatch(attack.gets, each)] == []
        while descriptors(pid) > files:
            await bystander.call()
        placed.cancel()
