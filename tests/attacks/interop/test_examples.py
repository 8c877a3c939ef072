"""The examples in other languages print what the one in Python does."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.interop import built
from tests.attacks.interop.test_clients import EVERYTHING
from tests.processes import ROOT, serving
from tests.service.test_examples import PLAIN_GRPCIO


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("examples")) as process:
        yield process.address


def printed(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_example_in_node_prints_what_a_reader_is_told_to_expect(address: str) -> None:
    directory = built.node_directory()
    if isinstance(directory, str):
        pytest.skip(directory)

    assert printed("node", directory / "check_claim.mjs", address) == PLAIN_GRPCIO


def test_the_example_in_cpp_prints_what_a_reader_is_told_to_expect(address: str) -> None:
    directory = built.cpp_programs(make=EVERYTHING)
    if isinstance(directory, str):
        pytest.skip(directory)

    assert printed(directory / "check_claim", address) == PLAIN_GRPCIO


def test_the_packages_of_the_example_in_node_are_told_without_a_registry() -> None:
    lock = (ROOT / "examples" / "node" / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(lock)["packages"]

    assert "node_modules/@grpc/grpc-js" in packages
    assert all("integrity" in each for name, each in packages.items() if name)
    assert not any("resolved" in each for each in packages.values())


def test_the_code_in_cpp_that_the_document_shows_is_the_example_s() -> None:
    document = (ROOT / "docs" / "how-to" / "calling.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "cpp" / "check_claim.cc").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```cpp\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)

    assert shown in example
