"""Liquidation request rules: may this liquidator take over these positions, now?"""


def needs_extra(what: str, extra: str) -> str:
    """What to tell an operator who asks for `what` without the packages of an extra."""
    return (
        f"{what} needs the extra {extra}: pip install '.[{extra}]' in a checkout,"
        f" or 'PATH_OF_WHEEL[{extra}]'"
    )
