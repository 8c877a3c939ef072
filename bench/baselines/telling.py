"""What baselines share: how they are told where to listen, how they tell it, what they answer."""

from __future__ import annotations  # gRPC's handlers are generic to the type checker alone

import argparse
import json
from typing import Any

import grpc

__all__ = ["AnyMethod", "listen_argument", "tell_serving"]


class AnyMethod(grpc.GenericRpcHandler):
    """Answers every method by one handler: one for each call would cost what is not gRPC's."""

    def __init__(self, behaviour: Any) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            behaviour
        )

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._handler


def listen_argument() -> str:
    """The address of `--listen`: HOST:PORT, port 0 for any that is free, or unix:PATH."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:0")
    return str(parser.parse_args().listen)


def tell_serving(address: str, port: int) -> None:
    """Prints the one line that says where calls are taken."""
    bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    print(json.dumps({"event": "serving", "addresses": [bound]}), flush=True)
