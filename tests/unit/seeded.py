"""How many cases a property gets, and that they are the same ones in every run."""

import os

from hypothesis import HealthCheck, settings

__all__ = ["LONG_FORM", "seeded"]

# `LIQUIDATION_CASES=200000 pytest tests/unit` looks further than a normal run has time for.
LONG_FORM = int(os.environ.get("LIQUIDATION_CASES", "0"))


def seeded(cases: int) -> settings:
    """A run of `cases` cases, or of as many as the long form asks for."""
    return settings(
        max_examples=max(cases, LONG_FORM),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
