"""A server that answers for its health, and for nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from liquidation.transport import HealthTable, Server, open_server, reflection_handlers

__all__ = ["answering_for_health"]


@asynccontextmanager
async def answering_for_health(
    listen: Callable[[Server], tuple[str, ...]],
) -> AsyncIterator[tuple[str, ...]]:
    """It serves while the block runs; `listen` adds its addresses, which are given."""
    table = HealthTable()
    table.set("", True)
    server, _ = open_server("queue", {**table.handlers(), **reflection_handlers(())})
    bound = listen(server)
    server.start()
    try:
        yield bound
    finally:
        await asyncio.to_thread(server.drain, 0.0)
