"""The typed client of the service: `LiquidationClient`, and `AsyncLiquidationClient` for asyncio.

    with LiquidationClient("127.0.0.1:50051") as client:
        try:
            claim = client.check_claim(ClaimTerms(101, "liquidator-1", "0.5"))
        except LiquidationRefused as refused:
            print(refused.code, refused.message)

Both classes have the same methods, which take and give the values of `liquidation.values`. Every
method raises, with the gRPC error as its cause:

- `LiquidationRefused`, where the service refuses;
- `LiquidationCallFailed`, where there is no answer of the service: it is not there, the deadline
  passed, the call was cancelled.

Both are a `LiquidationClientError`. The claims of a batch and of a stream are answered one by one:
there a refusal is a value beside the others, and what is raised concerns the whole call.
"""

from liquidation.client.aio import AsyncLiquidationClient
from liquidation.client.calls import DEFAULT_TIMEOUT, CheckRequest, StreamedRequest
from liquidation.client.refused import (
    ClaimAnswer,
    LiquidationCallFailed,
    LiquidationClientError,
    LiquidationRefused,
)
from liquidation.client.sync import LiquidationClient

__all__ = [
    "DEFAULT_TIMEOUT",
    "AsyncLiquidationClient",
    "CheckRequest",
    "ClaimAnswer",
    "LiquidationCallFailed",
    "LiquidationClient",
    "LiquidationClientError",
    "LiquidationRefused",
    "StreamedRequest",
]
