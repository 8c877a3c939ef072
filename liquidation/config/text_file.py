"""Reads the text of a file that the server is told of."""

from pathlib import Path

__all__ = ["read_text"]


def read_text(path: Path, problem: type[Exception]) -> str:
    """The text of the file at `path`, in UTF-8.

    Raises:
        problem: it cannot be read, or is no text; the words say why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise problem(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise problem(f"is not UTF-8 text: {error.reason}") from error
