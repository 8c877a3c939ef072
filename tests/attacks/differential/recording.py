"""Calls with their canonical outcomes in one compressed file, and how a release is held to it."""

import asyncio
import json
import lzma
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.attacks.differential.calls import Call, Json, Lane, Settings, Stage
from tests.attacks.differential.run import Report, StoreFor, compared, outcome
from tests.attacks.differential.sidecar import Release


async def record(
    stages: Iterable[Stage], release: Release, store: StoreFor, directory: Path
) -> bytes:
    """A recording of the stages with what becomes of them at a release."""
    lines = []
    for number, stage in enumerate(stages):
        place = directory / str(number)
        told = await outcome(stage, release, store(place), place)
        lines.append(json.dumps(_stage_json(stage, told), ensure_ascii=False))
    return lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)


def read(file: Path) -> list[tuple[Stage, Json]]:
    """The stages of a recording with their outcomes."""
    text = lzma.decompress(file.read_bytes()).decode()
    return [_stage_of(json.loads(line)) for line in text.split("\n")]


async def replay(
    recording: Iterable[tuple[Stage, Json]], release: Release, store: StoreFor, directory: Path
) -> Report:
    """Holds a release to a recording."""
    stages = list(recording)
    places = [directory / str(number) for number in range(len(stages))]
    two = asyncio.Semaphore(2)

    async def one(stage: Stage, place: Path) -> Json:
        async with two:
            return await outcome(stage, release, store(place), place)

    outcomes = await asyncio.gather(
        *(one(stage, place) for (stage, _), place in zip(stages, places, strict=True))
    )
    report = Report()
    for (stage, recorded), told in zip(stages, outcomes, strict=True):
        compared(stage, recorded, told, report)
    return report


def _stage_json(stage: Stage, told: Json) -> Json:
    """A call and its outcome stand side by side: what they share compresses well."""
    lanes = [
        {
            "alone": lane.alone,
            "steps": [len(step) for step in lane.steps],
            "calls": [
                [call.as_json(), outcome]
                for call, outcome in zip(lane.calls, outcomes, strict=True)
            ],
        }
        for lane, outcomes in zip(stage.lanes, told["calls"], strict=True)
    ]
    rest = {key: value for key, value in told.items() if key != "calls"}
    return {"name": stage.name, "settings": asdict(stage.settings), "lanes": lanes, "rest": rest}


def _stage_of(recorded: Json) -> tuple[Stage, Json]:
    lanes, outcomes = [], []
    for lane in recorded["lanes"]:
        calls = iter([Call.from_json(call) for call, _ in lane["calls"]])
        steps = [[next(calls) for _ in range(size)] for size in lane["steps"]]
        lanes.append(Lane(steps, lane["alone"]))
        outcomes.append([outcome for _, outcome in lane["calls"]])
    settings = Settings(**recorded["settings"] | {"flags": tuple(recorded["settings"]["flags"])})
    return Stage(recorded["name"], settings, lanes), {"calls": outcomes, **recorded["rest"]}
