"""Serves.

python -m bench.naive --listen HOST:PORT --store sqlite:PATH --log-file PATH
"""

import argparse
import asyncio
import json
import logging
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bench.naive import stubs
from bench.naive.database import Database
from bench.naive.servicers import ClaimServicer, LiquidationServicer, RulesServicer


class Counting(grpc.aio.ServerInterceptor):
    """Counts calls and the time that they take, by wrapping each handler."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def counted(request: Any, context: Any) -> Any:
            begun = time.perf_counter()
            try:
                return await handler.unary_unary(request, context)
            finally:
                self.calls[details.method] += 1
                self.seconds[details.method] += time.perf_counter() - begun

        return grpc.unary_unary_rpc_method_handler(
            counted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def log_to(path: Path) -> None:
    """structlog through logging, as its documentation shows it first."""
    file = logging.FileHandler(path)
    file.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[file])
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


async def serve(listen: str, database: Database) -> None:
    """Serves until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = grpc.aio.server(interceptors=[Counting()])
    stubs.rules_service.add_LiquidationRulesServiceServicer_to_server(
        RulesServicer(database), server
    )
    stubs.liquidation_service.add_LiquidationServiceServicer_to_server(
        LiquidationServicer(database), server
    )
    stubs.claim_service.add_ClaimServiceServicer_to_server(ClaimServicer(database), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
    port = server.add_insecure_port(listen)
    await server.start()
    address = listen if port == 1 else f"{listen.rpartition(':')[0]}:{port}"
    print(json.dumps({"event": "serving", "addresses": [address]}), flush=True)
    await ended.wait()
    await server.stop(1)


def main() -> None:
    """Reads the flags, and serves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--store", required=True)
    parser.add_argument("--log-file", type=Path, required=True)
    told = parser.parse_args()
    log_to(told.log_file)
    asyncio.run(serve(told.listen, Database(Path(told.store.removeprefix("sqlite:")))))


if __name__ == "__main__":
    main()
