"""`liquidation health`: whether a server serves; for probes, for scripts and for people."""

import sys
import time
from typing import Any, Final

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from liquidation.cli.asking import Server, server_options
from liquidation.cli.options import (
    printable,
    text,
)

_SERVING: Final = "SERVING"
# The trailing metadata in which the server tells each problem. It is that of `background`, which is
# not read here: a probe has no time for all that a server needs.
_PROBLEM_KEY: Final = "liquidation-problem"
# How long to wait before a server that does not serve is asked again, in seconds.
_PAUSE_S: Final = 0.2
_OPTIONS: Final = (
    # A probe asks the address that it is given, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@click.command(short_help="Whether a server serves.")
@server_options(api_key=False)
@click.option(
    "--service",
    type=text,
    metavar="NAME",
    default="",
    help="A service, or a part such as live or store.  [default: the whole]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="How long the answer may take.",
)
@click.option("--wait", is_flag=True, help="Ask until it serves, for as long as --timeout says.")
def health(server: Server, service: str, timeout: float, *, wait: bool) -> None:
    """Whether a server serves: SERVING, or NOT_SERVING and what it says about that.

    \b
    Examples:
      liquidation health
      liquidation health --address unix:/run/liquidation/liquidation.sock --service live
      liquidation health --wait --timeout 30

    \b
    Exit status:
      0  it serves
      1  it does not, or did not answer
      2  the command was not used as it is meant to be
    """
    with _channel(server) as channel:
        try:
            status, problems = _asked(channel, service, timeout, wait=wait)
        except grpc.RpcError as error:
            raise click.ClickException(_told(error, server.address, service, timeout)) from error
    for line in (status, *problems):
        click.echo(line)  # gRPC itself takes no control characters in them
    sys.exit(status != _SERVING)


def _channel(server: Server) -> grpc.Channel:
    credentials = server.credentials()
    if credentials is None:
        return grpc.insecure_channel(server.address, _OPTIONS)
    return grpc.secure_channel(server.address, credentials, _OPTIONS)


def _asked(
    channel: grpc.Channel, service: str, timeout: float, *, wait: bool
) -> tuple[str, list[str]]:
    """The status and what the server says about it; with `wait` once it serves, or time is up."""
    ends = time.monotonic() + timeout
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    while True:
        left = max(0.0, ends - time.monotonic())
        # If the server is not there yet, or not any more, it may come.
        response, call = stub.Check.with_call(request, timeout=left, wait_for_ready=wait)
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        if status == _SERVING or not wait or time.monotonic() + _PAUSE_S >= ends:
            return status, _problems(call)
        time.sleep(_PAUSE_S)


def _problems(call: Any) -> list[str]:
    return [f"  {value}" for key, value in call.trailing_metadata() or () if key == _PROBLEM_KEY]


def _told(error: Any, address: str, service: str, timeout: float) -> str:
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return f"{address}: there is no health of {printable(service)!r}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address}: no answer within {timeout:g} s"
    words = " ".join(printable(error.details() or "").split())
    return f"{address}: {error.code().name} {words}"
