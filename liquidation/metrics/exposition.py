"""The endpoint that Prometheus scrapes, and the label that tells workers apart."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric

from liquidation.config.addresses import TcpAddress, parse_address
from liquidation.metrics import MetricsError

__all__ = ["Endpoint", "labelled", "merged", "serve_metrics"]

_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Metrics that are served, at `address`: the port given for port 0 included."""

    address: str
    _server: WSGIServer
    _thread: Thread

    def close(self) -> None:
        """Serves no more; returns when the port is free."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collected:
    """A collector that asks a function."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def serve_metrics(address: str, collect: Callable[[], Iterable[Metric]]) -> Endpoint:
    """Serves what `collect` gives at each scrape, over HTTP on threads of its own.

    `address` is `HOST:PORT`, or a port of 127.0.0.1. Two scrapes at once call `collect` at once.

    Raises:
        MetricsError: the address cannot be listened on.
    """
    where = _parsed(address)
    # Names are not told beforehand, since what a worker has is known when it is asked.
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Collected(collect))
    try:
        server, thread = start_http_server(where.port, where.host, registry)
    except OSError as error:
        told = f"cannot serve metrics on {where}: {error.strerror or error}"
        raise MetricsError(told) from error
    return Endpoint(str(TcpAddress(where.host, server.server_port)), server, thread)


def _parsed(address: str) -> TcpAddress:
    where = f"{_LOOPBACK}:{address}" if address.isascii() and address.isdigit() else address
    try:
        parsed = parse_address(where)
    except ValueError as error:
        raise MetricsError(f"cannot serve metrics: {error}") from error
    if not isinstance(parsed, TcpAddress):
        raise MetricsError(f"cannot serve metrics on {address}: it must be HOST:PORT")
    return parsed


def labelled(families: Iterable[Metric], worker: int) -> list[Metric]:
    """The families with the label `worker` at each series.

    The times at which series were created are left out: they would double the series, and what
    they are for, seeing a restart, `process_start_time_seconds` does.
    """
    told = []
    for family in families:
        copy = Metric(family.name, family.documentation, family.type, family.unit)
        created = f"{family.name}_created"
        copy.samples = [
            sample._replace(labels={**sample.labels, "worker": str(worker)})
            for sample in family.samples
            if sample.name != created
        ]
        told.append(copy)
    return told


def merged(families: Iterable[Metric]) -> list[Metric]:
    """Families of one name made one, as the format has it, in the order in which they come."""
    found: dict[str, Metric] = {}
    for family in families:
        known = found.setdefault(family.name, family)
        if known is not family:
            known.samples.extend(family.samples)
    return list(found.values())
