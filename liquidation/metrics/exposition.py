"""What Prometheus is given, from one process or gathered from several workers."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from liquidation.config.addresses import TcpAddress, parse_address
from liquidation.metrics import MetricsError

# How long a scrape waits for workers; Prometheus itself waits for 10 s, unless told otherwise.
_PATIENCE_S: Final = 1.0
_ASK: Final = b""


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
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def serve_metrics(address: str, collect: Callable[[], Iterable[Metric]]) -> Endpoint:
    """Serves what `collect` gives at each scrape, over HTTP on threads of its own.

    `address` is `HOST:PORT`. Two scrapes at once call `collect` at once.

    Raises:
        MetricsError: the address cannot be listened on.
    """
    where = parse_address(address)
    assert isinstance(where, TcpAddress), "metrics are served over HTTP"
    # Names are not told beforehand, since what a worker has is known when it is asked.
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(_Collected(collect))
    try:
        server, thread = start_http_server(where.port, where.host, registry)
    except OSError as error:
        told = f"cannot serve metrics on {where}: {error.strerror or error}"
        raise MetricsError(told) from error
    return Endpoint(str(TcpAddress(where.host, server.server_port)), server, thread)


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


def answer_scrapes(connection: Connection, registry: CollectorRegistry) -> None:
    """Answers a supervisor whenever it asks, on a thread of its own, until it is gone.

    Not on the thread that answers calls: that one may be busy, and collecting only reads numbers.
    """
    Thread(target=_answer, args=(connection, registry), name="metrics", daemon=True).start()


def _answer(connection: Connection, registry: CollectorRegistry) -> None:
    # The supervisor hung up, or was killed.
    with suppress(EOFError, OSError):
        while True:
            connection.recv_bytes()
            connection.send(list(registry.collect()))


class _Worker:
    """The supervisor's end of a connection. A worker is asked once more only when it answered.

    Each question has a thread of its own: a worker that is stopped in the middle of its answer
    holds that thread, and nobody else.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = Lock()

    def ask(self) -> Future[list[Metric]] | None:
        """Metrics that are of now; EOFError or OSError if the worker is gone.

        None while an earlier question is not answered: of a worker that is stopped they would pile
        up in its pipe until asking it blocks.
        """
        if not self._asked.acquire(blocking=False):
            return None
        answer: Future[list[Metric]] = Future()
        Thread(target=self._exchange, args=(answer,), name="scrape", daemon=True).start()
        return answer

    def _exchange(self, answer: Future[list[Metric]]) -> None:
        try:
            self._connection.send_bytes(_ASK)
            families = self._connection.recv()
        except (EOFError, OSError) as error:
            self._asked.release()
            answer.set_exception(error)
        else:
            self._asked.release()
            answer.set_result(families)


class Workers:
    """Gathers what the workers counted. One that is gone, or does not answer, is told as down."""

    def __init__(self, count: int, patience_s: float = _PATIENCE_S) -> None:
        """`patience_s` is how long all of them together may take to answer a scrape."""
        self._patience_s = patience_s
        self._workers: dict[int, _Worker | None] = dict.fromkeys(range(count))
        # One scrape at a time: the second would take the answers to the first.
        self._scrape = Lock()

    def add(self, index: int, connection: Connection) -> None:
        """Asks a worker from now on by `connection`, whose other end its `Metrics.answer` has.

        It takes the place of an earlier worker of that index, and may be called during a scrape.
        """
        # The earlier connection is closed when nobody holds it any more: a scrape may just read it.
        self._workers[index] = _Worker(connection)

    def collect(self) -> list[Metric]:
        """The families of all workers, each series with the label `worker`."""
        with self._scrape:
            answers = self._ask_all(dict(self._workers))
        up = GaugeMetricFamily(
            "liquidation_worker_up",
            "1 where the worker answered this scrape, else 0.",
            labels=["worker"],
        )
        for index in self._workers:
            up.add_metric([str(index)], index in answers)
        families = (each for index in sorted(answers) for each in labelled(answers[index], index))
        return [up, *merged(families)]

    def serve(self, address: str) -> Endpoint:
        """Serves the metrics of all workers at `HOST:PORT`.

        Raises:
            MetricsError: the address cannot be listened on.
        """
        return serve_metrics(address, self.collect)

    def _ask_all(self, workers: dict[int, _Worker | None]) -> dict[int, Iterable[Metric]]:
        asked: dict[Future[list[Metric]], int] = {}
        for index, worker in workers.items():
            answer = None if worker is None else worker.ask()
            if answer is not None:
                asked[answer] = index
        answered, _ = wait(asked, self._patience_s)
        return {asked[each]: each.result() for each in answered if each.exception() is None}
