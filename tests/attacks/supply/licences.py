"""`make pin` writes docs/reference/licences.md: what the image carries, and under which licence."""

from importlib.metadata import metadata
from typing import Final

from tests.attacks.supply.locks import IMAGE, locked
from tests.processes import ROOT

LICENCES: Final = ROOT / "docs" / "reference" / "licences.md"

# What may be carried. The LGPL asks that psycopg can be replaced, as any package here can.
ALLOWED: Final = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "LGPL-3.0-only", "MIT", "MIT-0", "MPL-2.0"}
    | {"PSF-2.0"}
)

# In the form of SPDX, what some packages say in words of their own.
_SPDX: Final = {"3-Clause BSD License": "BSD-3-Clause", "MIT": "MIT", "MIT License": "MIT"}
_CLASSIFIER: Final = "License :: OSI Approved :: "
_HEAD: Final = """\
# Licences

What the image carries besides Python and this service, by its lock (`deploy/requirements.txt`). The
page is made of what the packages say of themselves; a test holds it current, and refuses a licence
that nobody has agreed to.

| package | version | licence |
|---|---|---|
"""


def licence_of(name: str) -> str:
    """The licence of a package that is installed, as an SPDX expression.

    Raises:
        LookupError: it tells none that is known here.
    """
    told = metadata(name)
    if "License-Expression" in told:
        return told["License-Expression"]
    approved = (each for each in told.get_all("Classifier") or () if _CLASSIFIER in each)
    words = told["License"] if "License" in told else next(approved, "").removeprefix(_CLASSIFIER)
    if words not in _SPDX:
        raise LookupError(f"{name} is licensed in words that are not known: {words!r}")
    return _SPDX[words]


def table() -> str:
    """The page."""
    carried = (each for each in locked(IMAGE) if each.here)
    return _HEAD + "".join(
        f"| {each.name} | {each.version} | {licence_of(each.name)} |\n" for each in carried
    )


if __name__ == "__main__":
    LICENCES.write_text(table(), encoding="utf-8")
