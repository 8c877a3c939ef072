"""The generated code is what proto/ gives, and the API's names are those that clients know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from liquidation.v1 import claim_service_pb2, liquidation_service_pb2, rules_service_pb2
from tests.processes import ROOT

GENERATED = ROOT / "liquidation" / "v1"
BUF = Path(sys.executable).parent / "buf"
METHODS = [
    method
    for file in (rules_service_pb2, liquidation_service_pb2, claim_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    protos = sorted((ROOT / "proto" / "liquidation" / "v1").glob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{ROOT / 'proto'}",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            *map(str, protos),
        ],
        check=True,
    )

    fresh = {each.name: each.read_text() for each in (tmp_path / "liquidation/v1").iterdir()}
    checked_in = {each.name: each.read_text() for each in GENERATED.glob("*_pb2.py*")}
    assert checked_in == fresh


@pytest.mark.parametrize(
    "arguments",
    [["lint"], ["breaking", "--against", "proto/released.binpb"]],
    ids=lambda arguments: arguments[0],
)
def test_the_api_passes_buf(arguments: list[str]) -> None:
    done = subprocess.run(
        [str(BUF), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def bindings(method: MethodDescriptor) -> list[tuple[str, str]]:
    """Where a method is found over HTTP, and which field of its request the body is."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return [
        (f"{verb.upper()} {getattr(each, verb)}", each.body)
        for each in (rule, *rule.additional_bindings)
        if (verb := each.WhichOneof("pattern"))
    ]


def test_every_unary_call_has_a_place_of_its_own_in_http() -> None:
    places = [place for method in METHODS for place, _ in bindings(method)]

    assert [method.name for method in METHODS if not bindings(method)] == ["StreamCheckClaims"]
    assert len(set(places)) == len(places)


def test_the_document_on_envoy_has_every_place() -> None:
    text = (ROOT / "docs" / "how-to" / "envoy.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([A-Z]+ /\S+)` \| `(\w+)` \| (.*?) \|", text, flags=re.MULTILINE)

    assert documented == [
        (place, method.name, {"": "", "*": "the request"}.get(body, f"its `{body}`"))
        for method in METHODS
        for place, body in bindings(method)
    ]
