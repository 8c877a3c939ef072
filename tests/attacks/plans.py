"""The command line of an attack: one flag for each field of its plan."""

import argparse
from dataclasses import fields
from typing import Any, TypeVar

from tests.attacks.torture.engines import ENGINES

P = TypeVar("P")


def plan_of_arguments(kind: type[P], name: str, description: str | None, **defaults: Any) -> P:
    """The plan that the command line of `python -m tests.attacks.NAME` gives.

    `defaults` are those of fields for which the plan itself has none.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.attacks.{name}", description=description
    )
    for field in fields(kind):  # type: ignore[arg-type]
        flag = f"--{field.name.replace('_', '-')}"
        default = defaults.get(field.name, field.default)
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, str):
            parser.add_argument(flag, choices=ENGINES, default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    try:
        return kind(**vars(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))
