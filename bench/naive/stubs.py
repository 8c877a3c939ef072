"""The code that grpc_tools generates for servers, made where it is needed."""

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from grpc_tools import protoc

__all__ = ["claim_service", "liquidation_service", "rules_service"]

_PROTO: Final = Path(__file__).parents[2] / "proto"
_WELL_KNOWN: Final = Path(protoc.__file__).parent / "_proto"


def _generated(name: str) -> Any:
    """The module that is generated for `liquidation/v1/NAME.proto`."""
    source = _PROTO / "liquidation" / "v1" / f"{name}.proto"
    with tempfile.TemporaryDirectory() as place:
        folders = (f"-I{_PROTO}", f"-I{_WELL_KNOWN}", f"--grpc_python_out={place}")
        told = protoc.main(["protoc", *folders, str(source)])
        if told != 0:
            raise RuntimeError(f"protoc failed on {source}")
        return _loaded(Path(place, "liquidation", "v1", f"{name}_pb2_grpc.py"))


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rules_service = _generated("rules_service")
liquidation_service = _generated("liquidation_service")
claim_service = _generated("claim_service")
