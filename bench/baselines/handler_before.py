"""The handler of the release before, hot and in process: µs of thread time a CheckClaim.

python bench/baselines/handler_before.py TREE CALLS

TREE is the release's source tree. The handler is the coroutine that its gRPC server would await.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import uvloop

# The release's own modules, then this folder's: `liquidation` may be in both.
sys.path[:0] = [sys.argv[1], str(Path(__file__).parents[2])]
# Which of these modules are there depends on the tree, and so does what ruff takes them for.
from liquidation.configuration import read_configuration  # noqa: E402, I001

from bench import scenarios  # noqa: E402
from liquidation import serving  # noqa: E402
from liquidation.settings import Settings  # noqa: E402
from liquidation.store.locations import SqliteFile  # noqa: E402


class _Context:
    """What gRPC would hand to a handler."""

    def time_remaining(self) -> float:
        return 1.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "bench"),)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def set_code(self, _code: object) -> None: ...

    def set_details(self, _details: object) -> None: ...

    def set_trailing_metadata(self, _metadata: object) -> None: ...


async def measure(directory: Path, calls: int) -> float:
    """Thread time of a call, µs; the store holds the one liquidation that is asked about."""
    settings = Settings(
        listen=("127.0.0.1:0",),
        log_file=directory / "decisions.log",
        store=SqliteFile(directory / "store.db"),
    )
    configuration = read_configuration(settings, lambda: datetime.now(UTC))
    made: list[Any] = []
    build = serving.put_together

    def keep(*arguments: Any, **named: Any) -> Any:
        made.append(build(*arguments, **named))
        return made[0]

    context: Any = _Context()
    with mock.patch.object(serving, "put_together", keep):
        async with serving.sidecar(settings, configuration):
            rules, liquidations = (vars(each)["_handlers"] for each in made[0].handlers[:2])
            put = liquidations[scenarios.PUT].unary_unary
            await put(scenarios.put_request(), context)
            scenario = scenarios.SCENARIOS["accepted"]
            check, request = rules[scenario.path].unary_unary, scenario.message()
            for _ in range(calls // 10):
                await check(request, context)
            begun = time.thread_time()
            for _ in range(calls):
                await check(request, context)
            return (time.thread_time() - begun) / calls * 1e6


def main() -> None:
    """Measures, and prints the figure."""
    with tempfile.TemporaryDirectory() as name:
        print(uvloop.run(measure(Path(name), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
