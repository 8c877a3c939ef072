"""Clients of the last release go on working; what would break them does not pass `buf breaking`."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import status_pb2

from tests.attacks.interop.clients import BUF
from tests.processes import ROOT, serving
from tests.service.test_cases import CASES

RELEASED: Final = ROOT / "proto" / "released.binpb"
CHECK: Final = "liquidation.v1.LiquidationRulesService.CheckClaim"
# A change of liquidation.proto, and what of it buf says; nothing of what breaks no client.
LEAST: Final = "  string least_req_ratio = 5;\n"
DELETED: Final = (
    'Previously present field "5" with name "least_req_ratio" on message "Decision" was'
)
CHANGES: Final = {
    "a field gets another number": (
        LEAST,
        "  string least_req_ratio = 11;\n",
        f"{DELETED} deleted",
    ),
    "a field is removed": (
        LEAST,
        "",
        f"{DELETED} deleted",
    ),
    "a field gets another type": (
        LEAST,
        "  double least_req_ratio = 5;\n",
        'Field "5" with name "least_req_ratio" on message "Decision" changed type',
    ),
    "a field gets another name": (
        LEAST,
        "  string least_ratio = 5;\n",
        'Field "5" on message "Decision" changed name from "least_req_ratio" to "least_ratio"',
    ),
    "a value of an enum is removed": (
        "  TIER_HIGH = 2;\n",
        "",
        'Previously present enum value "2" on enum "Tier" was deleted',
    ),
    "a field is added": (LEAST, f"{LEAST}  string venue = 11;\n", ""),
    "a value of an enum is added": (
        "  TIER_HIGH = 2;\n",
        "  TIER_HIGH = 2;\n  TIER_TOP = 3;\n",
        "",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_buf_breaking_lets_pass_what_breaks_no_client(change: str, tmp_path: Path) -> None:
    old, new, complaint = CHANGES[change]
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    proto = tmp_path / "proto" / "liquidation" / "v1" / "liquidation.proto"
    text = proto.read_text(encoding="utf-8")
    assert text.count(old) == 1
    proto.write_text(text.replace(old, new), encoding="utf-8")

    done = subprocess.run(
        [BUF, "breaking", "--against", RELEASED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is (complaint == "")
    assert complaint in done.stdout
    assert bool(done.stdout) is bool(complaint)


class Released:
    """A client that knows the last release alone: no code of today has a part in it."""

    def __init__(self, channel: grpc.Channel) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(RELEASED.read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self._channel = channel

    def call(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """An answer, or the status of a refusal, as JSON with the types of the release."""
        method: MethodDescriptor = self.pool.FindMethodByName(name)
        asked, answered = (
            message_factory.GetMessageClass(each)
            for each in (method.input_type, method.output_type)
        )
        service, _, last = name.rpartition(".")
        call: Any = self._channel.unary_unary(f"/{service}/{last}")
        try:
            answer = answered.FromString(call(ParseDict(request, asked()).SerializeToString()))
        except grpc.RpcError as error:
            refused: Any = error  # it is the call too
            trailers = dict(refused.trailing_metadata())
            status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
            return {
                each.type_url.rpartition("/")[2]: self._unpacked(each) for each in status.details
            }
        return MessageToDict(answer, preserving_proto_field_name=True)

    def _unpacked(self, packed: Any) -> Any:
        name = packed.type_url.rpartition("/")[2]
        if not name.startswith("liquidation."):
            return packed.value
        message = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))
        return MessageToDict(message.FromString(packed.value), preserving_proto_field_name=True)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    with (
        serving(tmp_path_factory.mktemp("released")) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        yield Released(channel)


@pytest.mark.parametrize(
    "name", ["whole_low_liquidation_is_accepted", "part_of_each_named_symbol_is_accepted"]
)
def test_a_client_of_the_last_release_gets_its_answers(released: Released, name: str) -> None:
    answer = released.call(CHECK, CASES[name]["request"])

    assert answer["decision"].pop("decision_id")
    assert answer == CASES[name]["reply"]


@pytest.mark.parametrize(
    "name",
    [
        "ratio_below_threshold_is_refused",
        "ratio_with_an_exponent_is_refused",
        "liquidator_with_too_little_margin_is_refused",
    ],
)
def test_a_client_of_the_last_release_reads_a_refusal(released: Released, name: str) -> None:
    told = released.call(CHECK, CASES[name]["request"])["liquidation.v1.LiquidationError"]

    assert told["decision"].pop("decision_id")
    assert told == CASES[name]["refusal"]["liquidation_error"]


def test_a_client_of_the_last_release_finds_all_its_methods(released: Released) -> None:
    for file in ("claim_service", "liquidation_service", "rules_service"):
        services = released.pool.FindFileByName(f"liquidation/v1/{file}.proto").services_by_name
        for service in services.values():
            for method in service.methods:
                if not method.client_streaming:
                    # A message without a field is known to all; it is answered or refused as such.
                    released.call(method.full_name, {})
