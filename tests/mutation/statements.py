"""Mutants of SQL: half of what a store decides stands in its statements; mutmut has none of it."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import libcst as cst

__all__ = ["SQL_OPERATORS", "is_sql"]

_SQL: Final = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|CREATE|ALTER|ORDER BY|PRAGMA|BEGIN|COMMIT)\b"
    r"|(=|<|>) (:\w|%\()"
)
# Each one turns a statement into another that the database would also run.
_SWAPS: Final = (
    (r"(?<=\s)<=(?=\s)", "<"),
    (r"(?<=\s)<(?=\s)", "<="),
    (r"(?<=\s)>=(?=\s)", ">"),
    (r"(?<=\s)>(?=\s)", ">="),
    (r"(?<=\s)=(?=\s)", "<>"),
    (r"(?<=\s)<>(?=\s)", "="),
    (r"(?<=\s)\+(?=\s)", "-"),
    (r"(?<=\s)-(?=\s)", "+"),
    (r"\bAND\b", "OR"),
    (r"\bOR\b(?! REPLACE)", "AND"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"(?<!NOT )(?<!IF )\bEXISTS\b", "NOT EXISTS"),
    (r" DESC\b", ""),
    (r"\bDISTINCT ", ""),
    (r"\bmax\(", "min("),
    (r"\bmin\(", "max("),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r"\s+FOR (UPDATE|KEY SHARE)( SKIP LOCKED)?", ""),
    (r" SKIP LOCKED\b", ""),
    (r"\bON CONFLICT( \(\w+\))? DO NOTHING", ""),
)


def is_sql(node: cst.CSTNode) -> bool:
    """Whether a piece of text is SQL; words of SQL are written in capitals here."""
    return (
        isinstance(node, cst.SimpleString | cst.FormattedStringText)
        and _SQL.search(node.value) is not None
    )


def _of_text(
    node: cst.SimpleString | cst.FormattedStringText,
) -> Iterator[cst.SimpleString | cst.FormattedStringText]:
    if is_sql(node):
        for pattern, other in _SWAPS:
            for found in re.finditer(pattern, node.value):
                value = node.value[: found.start()] + other + node.value[found.end() :]
                yield node.with_changes(value=value)


_Operator = Callable[[Any], Iterator[cst.CSTNode]]

SQL_OPERATORS: Final[tuple[tuple[type[cst.CSTNode], _Operator], ...]] = (
    (cst.SimpleString, _of_text),
    (cst.FormattedStringText, _of_text),
)
