"""What Prometheus would see, read by the client library's own parser."""

import urllib.request
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class Scrape:
    """The families of one scrape, and its text."""

    text: str
    families: list[Metric]

    def series(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The values of a series by its other labels' values, in the order of the labels' names."""
        return {
            tuple(value for key, value in sorted(sample.labels.items()) if key not in labels): (
                sample.value
            )
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of the only series of that name with these labels."""
        (value,) = self.series(name, **labels).values()
        return value

    def counted(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """As `series`, without those that are at 0."""
        return {key: value for key, value in self.series(name, **labels).items() if value}

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {sample.name for family in self.families for sample in family.samples}


def scrape(address: str, query: str = "") -> Scrape:
    """One scrape of the endpoint at `HOST:PORT`."""
    with urllib.request.urlopen(f"http://{address}/metrics{query}", timeout=30) as response:
        text = response.read().decode()
    return Scrape(text, list(text_string_to_metric_families(text)))


def rendered(metrics: Collector) -> Scrape:
    """What a scrape would get, without the endpoint in between."""
    text = generate_latest(metrics).decode()
    return Scrape(text, list(text_string_to_metric_families(text)))
