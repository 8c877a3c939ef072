"""Server reflection, v1 and v1alpha, as handlers for either transport.

Both have the same bytes: grpcio-reflection answers them, one request at a time. It has the
descriptors of v1alpha alone, so those of v1 are derived from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from liquidation.transport import health
from liquidation.transport.base import Call, Exchange, Handler, Status, Step

_V1ALPHA: Final = "grpc.reflection.v1alpha"
_V1: Final = "grpc.reflection.v1"
_SERVICE: Final = "ServerReflection"

_INVALID: Final = Status(3, "The request is not one of server reflection.")


def reflection_handlers(service_names: Iterable[str]) -> dict[str, Handler]:
    """The methods of reflection for a server that has `service_names`, health and reflection."""
    own = [f"{package}.{_SERVICE}" for package in (_V1, _V1ALPHA)]
    names = {*service_names, health.SERVICE_NAME, *own}
    # The stubs want a whole pool; the servicer only looks up names in it.
    pool: Any = _PoolWithV1()
    servicer = reflection.ReflectionServicer(names, pool=pool)

    def answer(call: Call, messages: Sequence[bytes]) -> Iterator[Step]:
        for message in messages:
            if not _answered(servicer, call, message):
                return
            yield Step.MORE

    return {f"/{name}/ServerReflectionInfo": Exchange(answer) for name in own}


def _answered(servicer: reflection.ReflectionServicer, call: Call, message: bytes) -> bool:
    """Answers one request; False if the call is ended instead."""
    parse = reflection_pb2.ServerReflectionRequest.FromString
    if (request := health.parsed(call, message, parse, _INVALID)) is None:
        return False
    context: Any = None
    response = next(iter(servicer.ServerReflectionInfo(iter((request,)), context)))
    call.send(response.SerializeToString())
    return True


class _PoolWithV1:
    """Looks up names among all descriptors of this process, and in those of reflection v1.

    A pool of their own holds these, for a package that brings them may come into the process.
    """

    def __init__(self) -> None:
        self._all = descriptor_pool.Default()
        self._v1 = descriptor_pool.DescriptorPool()
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        _rename(file)
        self._v1.AddSerializedFile(file.SerializeToString())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)

    def FindFileByName(self, name: str) -> Any:  # noqa: N802 - protobuf's name
        try:
            return self._all.FindFileByName(name)
        except KeyError:
            return self._v1.FindFileByName(name)

    def FindFileContainingSymbol(self, name: str) -> Any:  # noqa: N802 - protobuf's name
        try:
            return self._all.FindFileContainingSymbol(name)
        except KeyError:
            return self._v1.FindFileContainingSymbol(name)


def _rename(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Makes v1 of v1alpha: it is the same but for the names."""
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_V1ALPHA, _V1)
            method.output_type = method.output_type.replace(_V1ALPHA, _V1)
