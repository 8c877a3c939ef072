"""What mutants a module has: the operators of mutmut, applied to every line that can decide.

mutmut itself leaves out constants, class bodies and decorated functions; half of a package of
values and tables is made of those. So its operators are used, and the walk is this one.
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, NamedTuple

import libcst as cst
from libcst.metadata import (
    MetadataWrapper,
    PositionProvider,
    WhitespaceInclusivePositionProvider,
)
from mutmut.mutation.mutators import mutation_operators

from tests.mutation.statements import SQL_OPERATORS, is_sql

__all__ = ["Identity", "Mutant", "Site", "mutants", "sites"]

# What only the type checker, `import *` or a reader of a traceback looks at.
_FOR_TYPES: Final = {"NewType", "ParamSpec", "TypeVar", "cast", "dataclass_transform"}
_OPERATORS: Final = tuple(mutation_operators)
# mutmut writes a text in three other ways; who compares it sees the first as soon as the others.
_MOST: Final = {"operator_string": 1}


class Identity(NamedTuple):
    """Names a mutant by what it changes, so that it is found again after lines were moved."""

    module: str
    function: str
    change: str


@dataclass(frozen=True)
class Mutant:
    """One change of a module, small enough that only a test of that very thing may see it."""

    identity: Identity
    source: str
    lines: range
    """The statement that is changed."""
    inside: str
    """The function whose code is changed, of nested ones the outermost; else "", at import."""


@dataclass(frozen=True)
class Site:
    """A node of a module and what it may be replaced with."""

    module: str
    tree: cst.Module
    function: str
    old: cst.CSTNode
    new: cst.CSTNode
    place: slice
    lines: range
    inside: str

    def mutant(self) -> Mutant | None:
        """The mutant; None where it is no other program, or none at all."""
        before = self.tree.code
        if isinstance(self.new, cst.Match):  # it has lines of its own, which must be indented
            changed = self.tree.deep_replace(self.old, self.new)
            assert isinstance(changed, cst.Module)
            after = changed.code
        else:
            written = self.tree.code_for_node(self.new)
            after = before[: self.place.start] + written + before[self.place.stop :]
        try:
            compile(after, self.module, "exec")
        except SyntaxError:
            return None
        if after == before:
            return None
        identity = Identity(self.module, self.function, _change(before, after))
        return Mutant(identity, after, self.lines, self.inside)


def sites(root: Path, module: str) -> list[Site]:
    """Every place of `module`, a path below `root`, where a mutant can be made, in file order."""
    wrapper = MetadataWrapper(cst.parse_module((root / module).read_text(encoding="utf-8")))
    walk = _Walk(module, wrapper)
    wrapper.visit(walk)
    return walk.found


def mutants(root: Path, module: str) -> list[Mutant]:
    """Every mutant of `module`; those that change equal lines of a function are numbered."""
    found: dict[str, Mutant] = {}
    seen: Counter[Identity] = Counter()
    for site in sites(root, module):
        mutant = site.mutant()
        if mutant is None or mutant.source in found:
            continue
        seen[mutant.identity] += 1
        if (number := seen[mutant.identity]) > 1:
            change = f"{mutant.identity.change}\n({number})"
            mutant = replace(mutant, identity=mutant.identity._replace(change=change))
        found[mutant.source] = mutant
    return list(found.values())


class _Walk(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider, WhitespaceInclusivePositionProvider)

    def __init__(self, module: str, wrapper: MetadataWrapper) -> None:
        super().__init__()
        self.found: list[Site] = []
        self._module = module
        self._tree = wrapper.module
        self._names: list[str] = []
        self._inside = ""
        self._statement = range(0)
        lengths = (len(line) for line in self._tree.code.splitlines(keepends=True))
        self._line_starts = [0, *accumulate(lengths)]

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _decides_nothing(node):
            return False
        if isinstance(node, cst.BaseStatement | cst.ExceptHandler | cst.MatchCase | cst.Else):
            self._statement = self._lines(node)
        for kind, operator in (*_OPERATORS, *SQL_OPERATORS):
            if isinstance(node, kind) and not _is_left_alone(node, operator.__name__):
                for new in islice(operator(node), _MOST.get(operator.__name__)):
                    self._add(node, new)
        if isinstance(node, cst.Assert):
            node.test.visit(self)
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._enter(node)
            return False
        return True

    def _enter(self, node: cst.FunctionDef | cst.ClassDef) -> None:
        """Defaults, bases and decorators are seen by whoever imports the module, bodies are not."""
        for child in node.children:
            if child is not node.body:
                child.visit(self)
        self._names.append(node.name.value)
        outermost = isinstance(node, cst.FunctionDef) and not self._inside
        if outermost:
            self._inside = ".".join(self._names)
        node.body.visit(self)
        if outermost:
            self._inside = ""
        self._names.pop()

    def _add(self, old: cst.CSTNode, new: cst.CSTNode) -> None:
        function = ".".join(self._names)
        place = self._place(old)
        self.found.append(
            Site(self._module, self._tree, function, old, new, place, self._statement, self._inside)
        )

    def _place(self, node: cst.CSTNode) -> slice:
        """Where the text of a node stands, with the parentheses around it."""
        place = self.get_metadata(WhitespaceInclusivePositionProvider, node)
        start, stop = (
            self._line_starts[each.line - 1] + each.column for each in (place.start, place.end)
        )
        return slice(start, stop)

    def _lines(self, node: cst.CSTNode) -> range:
        """Of a statement with a block, the lines before its block."""
        place = self.get_metadata(PositionProvider, node)
        body = getattr(node, "body", None)
        if isinstance(body, cst.BaseSuite):
            last = self.get_metadata(PositionProvider, body).start.line
            return range(place.start.line, max(last, place.start.line + 1))
        return range(place.start.line, place.end.line + 1)


def _decides_nothing(node: cst.CSTNode) -> bool:
    match node:
        case cst.Annotation() | cst.Import() | cst.ImportFrom():
            return True
        case (
            cst.Call(func=cst.Name(value=name))
            | cst.Assign(value=cst.Call(func=cst.Name(value=name)))
        ):
            return name in _FOR_TYPES
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value="__all__"))]):
            return True
        case cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString()):
            return True
    return False


def _is_left_alone(node: cst.CSTNode, operator: str) -> bool:
    """Letters of SQL are the same in either case; it has operators of its own."""
    return operator == "operator_string" and is_sql(node)


def _change(before: str, after: str) -> str:
    """The lines that differ, without their indentation."""
    return "\n".join(
        f"{line[0]} {line[1:].strip()}"
        for line in _differing(before.split("\n"), after.split("\n"))
    )


def _differing(before: list[str], after: list[str]) -> Iterator[str]:
    for line in difflib.unified_diff(before, after, lineterm="", n=0):
        if line[:2] not in ("--", "++", "@@"):
            yield line
