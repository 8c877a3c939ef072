"""One target under atheris, as a process of its own: libFuzzer ends the process it runs in.

`python -m tests.attacks.fuzz.engine TARGET DIRECTORY ARGUMENTS` hands the arguments on to
libFuzzer. The target may write to the directory.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from tests.attacks.fuzz.seam import fuzz, instrumented
from tests.attacks.fuzz.target import target_of


def main(arguments: Sequence[str]) -> None:
    """Fuzzes as told."""
    name, directory, *told = arguments
    with instrumented():
        # What was imported before would tell nothing of its branches.
        target = target_of(name)
    words = Path(directory) / "words"
    # One at least: to libFuzzer an empty dictionary is an error.
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in (b"0", *target.words)))
    with target.opened(Path(directory)) as look:
        told = [f"-max_len={target.longest}", f"-dict={words}", *told]
        fuzz([_again(name, directory), *told], look, target.mutate)


def _again(name: str, directory: str) -> str:
    """A program that is this one once more: libFuzzer starts itself to merge inputs."""
    program = Path(directory) / "again"
    program.write_text(
        f"#!/bin/sh\nexec {quote(sys.executable)} -m tests.attacks.fuzz.engine {name}"
        f' {quote(directory)} "$@"\n'
    )
    program.chmod(0o700)
    return str(program)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1:])
