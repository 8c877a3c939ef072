"""Where the time of a call goes: every place of the code on its way has its layer."""

from pathlib import Path

import pytest

from bench.layers import BELOW, LAYERS, OWN_THREADS, layer_of, named
from bench.profile import ProfileError, profile, shares_of, table

PACKAGE = Path(__file__).parents[2] / "liquidation"
# Not on the way of a call: they start a server, or belong to callers.
ASIDE = (
    "addresses.py", "calls.py", "certificates.py", "changes.py", "cli/", "client/",
    "grpc_environment.py", "heap.py", "listeners.py", "log_turn.py", "messages.py", "preflight/",
    "refused.py", "reloading.py", "services.py", "serving.py", "settings/", "tracing.py",
    "transport.py", "v1/", "values.py", "workers.py",
)  # fmt: skip


def test_every_file_on_the_way_of_a_call_has_a_layer() -> None:
    files = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    on_the_way = {each for each in files if not each.endswith("__init__.py")} - {
        each for each in files if each.startswith(ASIDE)
    }

    fits = {each for each in on_the_way if any(_fits(each, name) for name in LAYERS)}

    assert on_the_way - fits == {"core/key_file.py", "core/policy_keys.py"}
    assert all((PACKAGE / name).exists() for name in LAYERS)


def _fits(file: str, name: str) -> bool:
    return file == name or (name.endswith("/") and file.startswith(name))


@pytest.mark.parametrize(
    ("innermost", "layer"),
    [
        ("decide (liquidation/core/decide.py:7)", named("core/decide.py")),
        ("sent (liquidation/service/wire.py:7)", "message in: parse, unknown fields"),
        ("checked (liquidation/service/wire.py:7)", named("service/wire.py")),
        # The checkout may have the package's own name.
        ("decide (/srv/liquidation/liquidation/core/decide.py:7)", named("core/decide.py")),
        ("_process_event (structlog/_base.py:7)", named("logs/writer.py")),
        # Numbers are everybody's: they count for who uses them.
        ("plain (liquidation/core/numbers.py:7)", named("logs/writer.py")),
    ],
)
def test_a_stack_belongs_to_its_innermost_layer(innermost: str, layer: str) -> None:
    stack = ["main (server.py:1)", "_verdict (liquidation/logs/writer.py:3)", innermost]

    assert layer_of(stack) == layer


def test_threads_count_by_what_they_have_used() -> None:
    log = named("logs/sink.py")
    assert log is not None
    stacks = (
        "thread (1): MainThread;run (server.py:1) 60\n"
        "thread (1): MainThread;_run (liquidation/logs/sink.py:1) 20\n"
        "thread (2): log-writer;_run (liquidation/logs/sink.py:1) 500\n"
    )

    shares = shares_of(stacks, {1: 4.0, 2: 1.0, 3: 5.0})

    assert shares == pytest.approx({BELOW: 0.3, OWN_THREADS: 0.5, log: 0.1 + 0.1})


def test_a_profile_of_a_sidecar_adds_up(tmp_path: Path) -> None:
    try:
        shares, cpu_us = profile(["accepted"], 1, tmp_path)
    except ProfileError as error:
        pytest.skip(str(error))

    assert sum(shares["accepted"].values()) == pytest.approx(1)
    assert set(shares["accepted"]) > {BELOW, OWN_THREADS, named("logs/writer.py")}
    assert len(table(shares, cpu_us)) == len(shares["accepted"]) + 3
