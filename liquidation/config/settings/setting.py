"""A setting: told to the server as a flag or an environment variable, and to people as words."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

__all__ = ["Seconds", "Section", "Setting"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Callback = Callable[[click.Context, click.Parameter, Any], Any]

_ENV_PREFIX: Final = "LIQUIDATION_"
# Eleven days: longer spans than any that is of use here, and shorter than what gRPC can count.
_LONGEST_S: Final = 1_000_000
_SEVERAL: Final = " May be given several times; in the variable they stand apart by spaces."


class Seconds(click.FloatRange):
    """A span of `least` to `longest` seconds, both inclusive."""

    def __init__(self, least: float = 0, longest: float = _LONGEST_S) -> None:
        super().__init__(least, longest)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The span; NaN is none, although no bound keeps it out."""
        span: float = super().convert(value, param, ctx)
        if math.isnan(span):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return span


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of `liquidation serve`.

    Values are of the click type `type`, else texts that `callback` makes values of. `unset` says
    what holds where a `default` does not tell. With `repeatable` there may be several values.
    `allowed` says what may be given, as Markdown; it is needed where `type` does not tell.
    """

    flag: str
    meaning: str
    metavar: str | None = None
    type: click.ParamType[Any] | None = None
    callback: _Callback | None = None
    default: object = None
    unset: str = ""
    repeatable: bool = False
    allowed: str = ""

    def __post_init__(self) -> None:
        if not self.allowed:
            object.__setattr__(self, "allowed", _allowed(self.type))
        assert self.allowed, f"{self.flag}: what is allowed?"
        assert self.unset or self.default is not None, f"{self.flag}: what holds by default?"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return _ENV_PREFIX + self.flag.removeprefix("--").replace("-", "_").upper()

    @property
    def by_default(self) -> str:
        """What holds where it is not given: a value, as Markdown, or words."""
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        return self.unset or f"`{' '.join(map(str, values))}`"

    @property
    def told(self) -> str:
        """What it means, and how several values are given."""
        return self.meaning + (_SEVERAL if self.repeatable else "")

    def option(self, command: _F) -> _F:
        """Adds it to a click command."""
        given = {"type": self.type, "default": self.default}
        # For click a default of None is another thing than none.
        more: Any = {name: value for name, value in given.items() if value is not None}
        return click.option(
            self.flag,
            envvar=self.variable,
            show_envvar=True,
            show_default=self.unset or True,
            help=self.told,
            metavar=self.metavar,
            multiple=self.repeatable,
            callback=self.callback,
            **more,
        )(command)


@dataclass(frozen=True, slots=True)
class Section:
    """Settings that belong together."""

    title: str
    settings: tuple[Setting, ...]


def _allowed(kind: click.ParamType[Any] | None) -> str:
    """What values of a click type may be; "" where it does not tell."""
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        return f"{kind.min} to {kind.max}"
    return "a file" if isinstance(kind, click.Path) else ""
