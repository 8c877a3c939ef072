"""The mutants that no test can tell from the code, each with its reason."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutation.mutants import Identity

__all__ = ["LIST", "Explained", "read"]

LIST: Final = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True)
class Explained:
    """Reasons, by mutant."""

    reasons: dict[Identity, str]

    def of(self, module: str) -> frozenset[Identity]:
        """Those of one module."""
        return frozenset(each for each in self.reasons if each.module == module)


def read(path: Path = LIST) -> Explained:
    """The list in a file: tables of one reason each, and the mutants that it holds for.

    Raises:
        ValueError: a reason is empty, or a mutant stands there twice.
    """
    reasons: dict[Identity, str] = {}
    for table in tomllib.loads(path.read_text(encoding="utf-8")).get("explained", []):
        reason = " ".join(table["reason"].split())
        for mutant in table["mutants"]:
            identity = Identity(mutant["module"], mutant["function"], mutant["change"].strip("\n"))
            if not reason or identity in reasons:
                raise ValueError(f"{path.name}: without a reason, or twice: {identity}")
            reasons[identity] = reason
    return Explained(reasons)
