"""What is said of a file that cannot be taken."""

from pathlib import Path

from liquidation.config.live import ConfigurationError


def said_of(path: Path, error: ConfigurationError) -> str:
    """The words behind the name of the file, which has to come first."""
    name, said = f"{path}: ", str(error)
    assert said.startswith(name), said
    return said.removeprefix(name)
