"""A release that runs as a process of its own, started from a folder that holds it."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.attacks.differential.calls import Json, Settings

# After so long a server that does not start or stop is not slow but stuck.
_PATIENCE_S: Final = 120
_FILES: Final = {"--rules": "rules.toml", "--candidate-rules": "candidate.toml"}
# Runs the command of a release for each list of arguments, in one process.
_COMMANDS: Final = """
import json, sys
from liquidation.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
"""


@dataclass(frozen=True)
class Release:
    """A release: the folder with its `server.py`, and flags that only it is started with."""

    folder: Path
    flags: tuple[str, ...] = ()


@dataclass
class Sidecar:
    """A server that accepts calls at `address`; `keys` are its API keys by their names."""

    address: str
    log_file: Path
    keys: dict[str, str]
    process: Process

    async def stop(self) -> None:
        """Ends it with SIGTERM.

        Raises:
            RuntimeError: it ended with another status than 0.
        """
        self.process.send_signal(signal.SIGTERM)
        _, error = await asyncio.wait_for(self.process.communicate(), _PATIENCE_S)
        if self.process.returncode:
            raise RuntimeError(f"exit status {self.process.returncode}: {error.decode()}")

    def log(self) -> list[Json]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log_file.read_bytes().splitlines()]


@asynccontextmanager
async def started(
    release: Release, settings: Settings, store: str, directory: Path
) -> AsyncIterator[Sidecar]:
    """A server of a release with its files in `directory`, killed after the block if it runs."""
    _make(directory, settings)
    keys = await _new_keys(release, directory / "keys.json", settings.keys)
    log_file = directory / "decisions.log"
    command = [sys.executable, "server.py", "--listen", "127.0.0.1:0"]
    command += ["--store", store, "--store-timeout", "10", "--log-file", str(log_file)]
    for flag, text in (("--rules", settings.rules), ("--candidate-rules", settings.candidate)):
        if text:
            command += [flag, str(directory / _FILES[flag])]
    if keys:
        command += ["--api-keys", str(directory / "keys.json")]
    command += [*settings.flags, *release.flags]
    process = await _run(release, *command)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE_S)
        if not line:
            _, error = await process.communicate()
            raise RuntimeError(f"{release.folder} does not start: {error.decode()}")
        yield Sidecar(json.loads(line)["addresses"][0], log_file, keys, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _make(directory: Path, settings: Settings) -> None:
    directory.mkdir(parents=True)
    (directory / _FILES["--rules"]).write_text(settings.rules)
    (directory / _FILES["--candidate-rules"]).write_text(settings.candidate)


async def _new_keys(release: Release, file: Path, named: dict[str, list[str]]) -> dict[str, str]:
    """Keys by name, made by the release itself; one without permissions is revoked again."""
    if not named:
        return {}
    commands = []
    for name, permissions in named.items():
        asked = [f"--permission={each}" for each in permissions or ["admin"]]
        commands.append(["keys", "new", name, f"--file={file}", *asked])
    revoked = [name for name, permissions in named.items() if not permissions]
    commands += [["keys", "revoke", name, f"--file={file}"] for name in revoked]
    process = await _run(release, sys.executable, "-c", _COMMANDS, json.dumps(commands))
    printed, error = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
    if process.returncode:
        raise RuntimeError(f"no keys: {error.decode()}")
    return dict(zip(named, printed.decode().split(), strict=False))


async def _run(release: Release, *command: str) -> Process:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LIQUIDATION_")}
    environment = kept | {"PYTHONPATH": str(release.folder)}
    return await asyncio.create_subprocess_exec(
        *command, cwd=release.folder, env=environment, stdout=PIPE, stderr=PIPE
    )
