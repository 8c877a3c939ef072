"""Starting, listening and stopping, as an operator sees it."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from liquidation.v1 import liquidation_service_pb2, rules_service_pb2
from tests import samples
from tests.processes import serving, start
from tests.sidecars import dial, health

CHECK = "/liquidation.v1.LiquidationRulesService/CheckClaim"
BATCH = "/liquidation.v1.LiquidationRulesService/BatchCheckClaims"


async def check(
    address: str, request: Message | None = None
) -> rules_service_pb2.CheckClaimResponse:
    request = request or samples.check(samples.low_request())
    async with dial(address) as channel:
        data = await channel.unary_unary(CHECK)(request.SerializeToString())
    return rules_service_pb2.CheckClaimResponse.FromString(data)


async def test_the_serving_line_names_the_address_that_takes_calls(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        assert process.serving["event"] == "serving"
        assert (await check(process.address)).decision.accepted
        assert (tmp_path / "liquidation.db").exists()


async def test_the_log_goes_to_standard_output_by_default(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        await check(process.address)

        assert json.loads(process.output.readline())["event"] == "rules"
        line = json.loads(process.output.readline())
        assert (line["event"], line["outcome"], line["seq"]) == ("decision", "accepted", 1)
        assert line["process"] == process.serving["process"]


async def test_with_a_log_file_standard_output_has_the_serving_line_only(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-file", "decisions.log") as process:
        await check(process.address)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait() == 0

        assert process.output.read() == ""
        events = [
            json.loads(line)["event"]
            for line in (tmp_path / "decisions.log").read_text().splitlines()
        ]
        assert events == ["serving", "rules", "decision", "draining", "stopped"]


async def test_several_listeners_at_once_tcp_and_unix(tmp_path: Path) -> None:
    path = tmp_path / "s"
    arguments = ("--listen", "127.0.0.1:0", "--listen", f"unix:{path}", "--listen", "[::1]:0")
    with serving(tmp_path, *arguments) as process:
        addresses = process.serving["addresses"]

        assert addresses[1] == f"unix:{path}"
        for address in addresses:
            assert (await check(address)).decision.accepted


async def test_every_flag_is_an_environment_variable_too(tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('version = "strict"')
    environment = {
        "LIQUIDATION_LISTEN": f"127.0.0.1:0 unix:{tmp_path}/s",
        "LIQUIDATION_STORE": "sqlite:other.db",
        "LIQUIDATION_RULES": "strict.toml",
        "LIQUIDATION_LOG_FILE": "other.log",
    }
    with serving(tmp_path, environment=environment) as process:
        decision = (await check(f"unix:{tmp_path}/s")).decision

        assert decision.rules_version == process.serving["rules_version"] == "strict"
        assert (tmp_path / "other.db").exists()
        assert (tmp_path / "other.log").exists()


async def test_the_rules_file_sets_the_thresholds(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(
        'version = "2"\n[tiers.low]\nmin_claim_notional = 30000.000000000000000001\n'
    )
    request = samples.check(samples.low_request({"ratio_qty_request": "0.9"}))
    with serving(tmp_path, "--rules", "rules.toml") as process:
        async with dial(process.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(CHECK)(request.SerializeToString())

    assert refused.value.details() == (
        "total notional < 30000.000000000000000001, least req ratio should = 1"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nowhere"], "neither HOST:PORT nor unix:PATH"),
        (["--listen", "127.0.0.1:70000"], "neither HOST:PORT nor unix:PATH"),
        (["--store", "mysql://x"], "sqlite:PATH"),
        (["--store", "postgresql://h/db?no_such=1"], "not a sound one"),
        (["--store", "sqlite:/no/such/folder/x.db"], "/no/such/folder/x.db"),
        (["--store", "sqlite:/no/such/folder/x.db", "--workers", "2"], "/no/such/folder/x.db"),
        (["--rules", "missing.toml"], "missing.toml: cannot be read"),
        (["--rules", "bad.toml"], "tiers.low.min_claim: is not a known key"),
        (["--log-file", "/no/such/folder/x.log"], "/no/such/folder/x.log"),
        (["--no-such-flag"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_of_the_operator_is_told_in_a_line_without_traceback(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "bad.toml").write_text('version = "1"\n[tiers.low]\nmin_claim = 1\n')
    with start(["--listen", "127.0.0.1:0", *arguments], tmp_path) as popen:
        _, errors = popen.communicate(timeout=60)

    assert popen.returncode in (1, 2)
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_database_that_cannot_be_reached_is_refused_and_its_password_is_nowhere(
    tmp_path: Path, workers: str
) -> None:
    environment = {
        "LIQUIDATION_STORE": "postgresql://u:S3cret@127.0.0.1:1/db?password=S3cret",
        "LIQUIDATION_STORE_TIMEOUT": "0.2",
    }
    arguments = ("--listen", "127.0.0.1:0", "--log-file", "d.log", "--workers", workers)
    with serving(tmp_path, *arguments, environment=environment) as process:
        assert process.serving["store"] == "postgresql://u@127.0.0.1:1/db"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(process.address, samples.check({"terms": samples.low_terms()}))
        process.popen.send_signal(signal.SIGTERM)
        output, errors = process.popen.communicate(timeout=60)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    log = (tmp_path / "d.log").read_text()
    assert "store_failed" in log
    assert '"code":-1011' in log
    assert "S3cret" not in f"{process.serving}{output}{errors}{log}"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_told(tmp_path: Path, workers: str) -> None:
    """By another program, or by another sidecar."""
    with socket.socket() as taken, serving(tmp_path) as process:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for address in (f"127.0.0.1:{taken.getsockname()[1]}", process.address):
            arguments = ["--listen", address, "--store", "sqlite:2.db", "--workers", workers]
            with start(arguments, tmp_path) as popen:
                _, errors = popen.communicate(timeout=60)

            assert popen.returncode == 1
            assert f"cannot listen on {address}" in errors
            assert "Traceback" not in errors


async def test_sigterm_lets_calls_in_progress_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        async with dial(process.address) as channel:
            call = asyncio.ensure_future(channel.unary_unary(BATCH)(samples.slow_batch(200)))
            # The first of its lines, behind that of the rules: the call is in progress.
            await asyncio.to_thread(process.output.readline)
            assert json.loads(await asyncio.to_thread(process.output.readline))["seq"] == 1
            process.popen.send_signal(signal.SIGTERM)
            rest = asyncio.to_thread(process.output.read)

            response = rules_service_pb2.BatchCheckClaimsResponse.FromString(await call)

            assert len(response.results) == 200
            assert all(each.HasField("refused") for each in response.results)
            lines = [json.loads(line) for line in (await rest).splitlines()]
    assert process.popen.returncode == 0
    assert [line["seq"] for line in lines if "seq" in line] == list(range(2, 201))
    assert lines[-1]["event"] == "stopped"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(process.address)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_turns_first_when_the_server_drains(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        async with dial(process.address) as channel:
            watch = health(channel, "")
            seen = []
            async for response in watch:
                seen.append(response.status)
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    process.popen.send_signal(signal.SIGTERM)
                elif len(seen) > 1 and seen[-2] == health_pb2.HealthCheckResponse.SERVING:
                    break
            watch.cancel()
        assert seen[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
        assert process.popen.wait() == 0


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_what_was_put_is_there_after_kill_9(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    put = "/liquidation.v1.LiquidationService/PutLiquidation"
    store = "sqlite:liquidation.db"
    if engine == "postgres":
        store = request.getfixturevalue("postgres_database")
    with serving(tmp_path, "--store", store) as process:
        assert process.serving["store"] == store
        async with dial(process.address) as channel:
            snapshot = liquidation_service_pb2.PutLiquidationRequest(
                liquidation=samples.snapshot(samples.low())
            )
            await channel.unary_unary(put)(snapshot.SerializeToString())
        process.popen.kill()
        process.popen.wait()

    with serving(tmp_path, "--store", store) as process:
        stored = samples.check({"terms": samples.low_terms()})
        decision = (await check(process.address, stored)).decision
        assert (decision.accepted, decision.liquidation_revision) == (True, 7)
