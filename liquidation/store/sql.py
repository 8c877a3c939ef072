"""SQL that is kept in files of its own, for those who review it."""

from importlib.resources import files


def statements_of(package: str, name: str) -> tuple[str, ...]:
    """The statements of the file `name` of a package, in order, without its lines of comment."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    statements = map(str.strip, "\n".join(lines).split(";"))
    return tuple(statement for statement in statements if statement)
