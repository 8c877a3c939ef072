from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from liquidation.transport import reflection_handlers
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, Running, status

messages: Any = reflection_pb2
HEALTH = "grpc.health.v1.Health"
V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"


@pytest.fixture
def running(serve: Serve) -> Running:
    return serve(handlers=reflection_handlers(["liquidation.v1.ClaimService"]))


def answers(running: Running, version: str, requests: Sequence[Any]) -> list[Any]:
    """What the stubs of a version get: its messages are the same in both."""
    stub = running.channel().stream_stream(
        f"/{version}/ServerReflectionInfo",
        messages.ServerReflectionRequest.SerializeToString,
        messages.ServerReflectionResponse.FromString,
    )
    return list(stub(iter(requests), timeout=PATIENCE_S))


def asked(**fields: str) -> Any:
    return messages.ServerReflectionRequest(**fields)


@pytest.mark.parametrize("version", [V1, V1ALPHA])
def test_both_versions_list_every_service(running: Running, version: str) -> None:
    (listed,) = answers(running, version, [asked(list_services="")])
    names = [each.name for each in listed.list_services_response.service]
    assert names == [HEALTH, V1, V1ALPHA, "liquidation.v1.ClaimService"]


@pytest.mark.parametrize("version", [V1, V1ALPHA])
@pytest.mark.parametrize("name", [HEALTH, V1, V1ALPHA])
def test_every_service_is_described(running: Running, version: str, name: str) -> None:
    (described,) = answers(running, version, [asked(file_containing_symbol=name)])
    files = [
        FileDescriptorProto.FromString(each)
        for each in described.file_descriptor_response.file_descriptor_proto
    ]
    services = [f"{file.package}.{each.name}" for file in files for each in file.service]
    assert name in services


def test_requests_are_answered_in_their_order(running: Running) -> None:
    requests = [asked(file_by_filename=f"nothing/{number}.proto") for number in range(50)]
    seen = answers(running, V1, requests)
    assert [each.original_request for each in seen] == requests
    assert all(each.error_response.error_code == 5 for each in seen)


def test_the_file_of_v1_is_found_by_its_name(running: Running) -> None:
    name = "grpc/reflection/v1/reflection.proto"
    (seen,) = answers(running, V1, [asked(file_by_filename=name)])
    (text,) = seen.file_descriptor_response.file_descriptor_proto
    file = FileDescriptorProto.FromString(text)
    assert (file.name, file.package) == (name, "grpc.reflection.v1")
    assert b"grpc.reflection.v1alpha." not in text


@pytest.mark.parametrize(
    ("data", "code"), [(bytes(65_537), "RESOURCE_EXHAUSTED"), (b"\xff", "INVALID_ARGUMENT")]
)
def test_requests_that_are_too_large_or_invalid_are_refused(
    running: Running, data: bytes, code: str
) -> None:
    call = running.channel().stream_stream(f"/{V1}/ServerReflectionInfo")
    with pytest.raises(grpc.RpcError) as failed:
        list(call(iter((data,)), timeout=PATIENCE_S))
    assert status(failed.value)[0] == code
    assert running.faults == []
