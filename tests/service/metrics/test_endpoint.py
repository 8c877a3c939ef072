"""The endpoint: where it listens, what it answers, and what it says where it cannot."""

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from liquidation.metrics import MetricsError
from liquidation.metrics.exposition import Endpoint
from liquidation.metrics.prometheus import Metrics
from tests.service.metrics.scrapes import rendered, scrape

PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The metrics of a process that has done nothing yet."""
    endpoint = Metrics().serve("127.0.0.1:0")
    yield endpoint
    endpoint.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="this host has no IPv6")
def test_an_ipv6_address_stands_in_brackets() -> None:
    endpoint = Metrics().serve("[::1]:0")
    try:
        assert endpoint.address.startswith("[::1]:")
        assert scrape(endpoint.address).names
    finally:
        endpoint.close()


def test_an_address_that_is_in_use_is_told(endpoint: Endpoint) -> None:
    with pytest.raises(MetricsError, match=rf"{endpoint.address}: Address already in use"):
        Metrics().serve(endpoint.address)


def test_a_closed_endpoint_gives_its_port_back() -> None:
    endpoint = Metrics().serve("127.0.0.1:0")
    endpoint.close()

    again = Metrics().serve(endpoint.address)
    again.close()

    assert again.address == endpoint.address


def test_a_scrape_says_what_is_told_without_the_endpoint() -> None:
    metrics = Metrics()
    metrics.claim_begun()
    endpoint = metrics.serve("127.0.0.1:0")
    try:
        seen = scrape(endpoint.address)
    finally:
        endpoint.close()

    assert seen.value("liquidation_claims_begun_total") == 1
    assert [line for line in seen.text.splitlines() if "liquidation" in line] == [
        line for line in rendered(metrics).text.splitlines() if "liquidation" in line
    ]


def test_every_series_names_its_worker_and_none_is_there_twice(endpoint: Endpoint) -> None:
    lines = [
        line for line in scrape(endpoint.address).text.splitlines() if not line.startswith("#")
    ]

    assert all('worker="0"' in line for line in lines)
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(set(series)) == len(series)
    assert not any("_created" in name for name in series)


def test_some_names_alone_may_be_asked_for(endpoint: Endpoint) -> None:
    seen = scrape(endpoint.address, "?name[]=liquidation_claims_active")

    assert seen.names == {"liquidation_claims_active"}


def test_the_endpoint_is_for_reading_alone(endpoint: Endpoint) -> None:
    request = urllib.request.Request(f"http://{endpoint.address}/metrics", data=b"x", method="POST")

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)

    assert refused.value.code == 405
    refused.value.close()


def test_many_may_scrape_at_once(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: scrape(endpoint.address), range(32)))

    assert len({frozenset(each.names) for each in seen}) == 1


@pytest.mark.skipif(PROMTOOL is None, reason="it needs Debian's package prometheus")
def test_promtool_has_nothing_against_the_metrics(endpoint: Endpoint) -> None:
    text = scrape(endpoint.address).text

    checked = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=text,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_without_the_library_it_is_told_what_to_install() -> None:
    told = _without_the_library("from liquidation.metrics import new_metrics; new_metrics()")

    assert "MetricsError: --metrics-listen needs the extra metrics: pip install" in told
    assert "MetricsError" in _without_the_library(
        "from liquidation.metrics import new_workers; new_workers(2)"
    )


def test_what_else_is_missing_is_not_taken_for_the_library() -> None:
    told = _without("wsgiref", "from liquidation.metrics import new_metrics; new_metrics()")

    assert "MetricsError" not in told
    assert "ModuleNotFoundError: No module named 'wsgiref" in told


def test_without_the_library_the_service_can_be_started_all_the_same() -> None:
    assert (
        _without_the_library("import liquidation.server.serving, liquidation.server.workers") == ""
    )


def _without_the_library(code: str) -> str:
    return _without("prometheus_client", code)


def _without(module: str, code: str) -> str:
    """What Python says on standard error where a module is not installed."""
    absent = f"import sys; sys.modules[{module!r}] = None\n"
    ran = subprocess.run(
        [sys.executable, "-c", absent + code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.stderr
