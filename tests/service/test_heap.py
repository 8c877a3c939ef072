"""What a server has made at its start is not looked through for garbage again."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_was_there_is_frozen_and_what_comes_is_not() -> None:
    # In a process of its own: what is frozen stays so.
    program = (
        "import gc\n"
        "from liquidation.server import serving\n"
        "from liquidation.server.upkeep import freeze_gc\n"
        "freeze_gc()\n"
        "kept = gc.get_freeze_count()\n"
        "new = [[]]\n"
        "print(serving is not None, kept > 10_000, len(gc.get_objects()) < 1_000)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert told.stdout.split() == ["True", "True", "True"]
