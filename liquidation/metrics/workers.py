"""One endpoint for several workers: their supervisor asks each of them when it is scraped."""

from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from liquidation.metrics.exposition import Endpoint, labelled, merged, serve_metrics

__all__ = ["Workers", "answer_scrapes"]

# How long a scrape waits for workers; Prometheus itself waits for 10 s, unless told otherwise.
_PATIENCE_S: Final = 1.0
_ASK: Final = b""


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
        """Metrics that are of now; EOFError or OSError where the worker is gone.

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
