"""The release before, out of the repository's history."""

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

COMMIT: Final = "978e661"


def before_release(repository: Path, folder: Path) -> Path:
    """Unpacks the release before into a folder, and gives that.

    Raises:
        SystemExit: the repository does not have its commit, as in a shallow clone.
    """
    packed = subprocess.run(
        ["git", "archive", COMMIT], cwd=repository, check=False, capture_output=True
    )
    if packed.returncode:
        raise SystemExit(f"--before is needed: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
