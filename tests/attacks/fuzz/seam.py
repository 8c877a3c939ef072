"""The few words that are spoken with atheris, which is not typed and not on every platform."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from tests.attacks.fuzz.target import Look, Mutate

_T = TypeVar("_T")


def installed() -> bool:
    """Whether there is atheris for this platform and this Python."""
    return importlib.util.find_spec("atheris") is not None


def _atheris() -> Any:
    return importlib.import_module("atheris")


def instrumented() -> AbstractContextManager[None]:
    """What of the service is imported meanwhile tells which of its branches are taken."""
    return cast(
        AbstractContextManager[None], _atheris().instrument_imports(include=["liquidation"])
    )


def observed(function: Callable[[_T], _T]) -> Callable[[_T], _T]:
    """The function, which tells which of its branches are taken."""
    return cast(Callable[[_T], _T], _atheris().instrument_func(function))


def mutate_bytes(data: bytes, most: int) -> bytes:
    """Other bytes, as libFuzzer makes them."""
    mutate = cast(Callable[[bytes, int], bytes], _atheris().Mutate)
    return mutate(data, most)


def fuzz(arguments: Sequence[str], look: Look, mutate: Mutate | None) -> None:
    """Hands `look` inputs until libFuzzer, which takes the arguments, ends the process."""
    atheris = _atheris()
    told = {} if mutate is None else {"custom_mutator": mutate}
    atheris.Setup(list(arguments), look, **told)
    atheris.Fuzz()
