"""Runs stages on two releases and tells every difference."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from tests.attacks.differential.calls import Call, Json, Stage
from tests.attacks.differential.comparing import Difference, differences, mutated
from tests.attacks.differential.judging import outcome_of
from tests.attacks.differential.sending import send
from tests.attacks.differential.sidecar import Release, started

# The value of `--store` for a server with its files in a directory.
StoreFor = Callable[[Path], str]
# Of a text or an answer that is shown.
_MOST_SHOWN = 1500


@dataclass(frozen=True)
class Found:
    """A call with different outcomes, or the lines of no call; None is then the call."""

    stage: str
    place: str
    call: Call | None
    differences: list[Difference]
    before: Any
    after: Any

    def __str__(self) -> str:
        lines = [f"{self.stage}, {self.place}"]
        if self.call is not None:
            lines += [f"  call   {self.call.path}", f"  sent   {_shown(self.call.as_json())}"]
        lines += [f"  before {_shown(self.before)}", f"  after  {_shown(self.after)}"]
        lines += [
            f"  {each.path}: {_shown(each.before)} -> {_shown(each.after)}"
            for each in self.differences[:20]
        ]
        return "\n".join(lines)


@dataclass
class Report:
    """How many requests were compared, how the calls ended, and what was different."""

    requests: int = 0
    calls: int = 0
    lines: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"


async def outcome(stage: Stage, release: Release, store: str, directory: Path) -> Json:
    """What becomes of a stage at a server of a release, with a value of `--store`."""
    async with started(release, stage.settings, store, directory) as sidecar:
        answers = await send(stage, sidecar)
        await sidecar.stop()
    return outcome_of(stage, answers, sidecar.log())


def compare(
    stages: Iterable[Stage],
    releases: tuple[Release, Release],
    store: StoreFor,
    directory: Path,
    mutate: Random | None = None,
) -> Report:
    """Sends each stage to both releases at once; `mutate` changes one thing on the second side."""
    report = Report()
    # Each side has a process of its own that calls it: one would be slower than two servers.
    with ProcessPoolExecutor(2, get_context("spawn")) as sides:
        running: deque[_Running] = deque()
        for number, stage in enumerate(stages):
            places = [directory / f"{number}-{side}" for side in ("before", "after")]
            # The next stage is drawn while this one runs.
            work = [
                sides.submit(_outcome, stage, release, store(place), place)
                for release, place in zip(releases, places, strict=True)
            ]
            running.append((stage, work))
            if len(running) > 1:
                _finish(running.popleft(), report, mutate)
        while running:
            _finish(running.popleft(), report, mutate)
    return report


_Running = tuple[Stage, list[Future[Json]]]


def _finish(running: _Running, report: Report, mutate: Random | None) -> None:
    stage, work = running
    before, after = (each.result() for each in work)
    if mutate is not None and not report.requests:
        mutated(after, mutate)
    compared(stage, before, after, report)


def _outcome(stage: Stage, release: Release, store: str, directory: Path) -> Json:
    return asyncio.run(outcome(stage, release, store, directory))


def compared(stage: Stage, before: Json, after: Json, report: Report) -> None:
    """Adds the differences of one stage to a report."""
    report.requests += stage.requests
    for place, call, left, right in _pairs(stage, before, after):
        if call is not None:
            report.calls += 1
            report.lines += len(left.get("log", ()))
            _count(report.codes, left)
        if found := differences(left, right):
            report.found.append(Found(stage.name, place, call, found, left, right))


def _count(codes: dict[str, int], outcome: Json) -> None:
    for line in outcome.get("log", ()):
        name = f"{line['code']} {line['rule']}".strip()
        codes[name] = codes.get(name, 0) + 1


def _pairs(stage: Stage, before: Json, after: Json) -> Iterator[tuple[str, Call | None, Any, Any]]:
    lanes = zip(stage.lanes, before["calls"], after["calls"], strict=True)
    for number, (lane, left, right) in enumerate(lanes):
        for place, (call, one, other) in enumerate(zip(lane.calls, left, right, strict=True)):
            yield f"lane {number}, call {place}", call, one, other
    for key in before:
        if key != "calls":
            yield key, None, before[key], after[key]
