"""The generated code is what proto/ gives, and the API's names are those that clients know."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

GENERATED = ROOT / "liquidation" / "v1"
BUF = Path(sys.executable).parent / "buf"


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
