"""Everything that can be set, as tables. Needs rich, as `screen` does."""

from collections.abc import Iterable

from liquidation.cli.drawing import a_console, a_table, cell
from liquidation.config.settings import SECTIONS
from liquidation.rules.policy_keys import POLICY_KEYS

__all__ = ["write_settings"]


def write_settings(key_defaults: Iterable[str]) -> None:
    """A table a section, and one of the keys of a rules file, whose defaults are given."""
    console = a_console()
    for section in SECTIONS:
        console.print(cell(section.title, "bold"))
        table = a_table("flag and variable", "default and allowed", "meaning")
        table.show_lines = True
        for each in section.settings:
            default, allowed = (text.replace("`", "") for text in (each.by_default, each.allowed))
            table.add_row(
                cell(f"{each.flag}\n{each.variable}"),
                cell(f"{default}\n{allowed}"),
                cell(each.told),
            )
        console.print(table)
    console.print(cell("Keys of the rules file", "bold"))
    table = a_table("key", "default and allowed", "meaning")
    table.show_lines = True
    for key, default in zip(POLICY_KEYS, key_defaults, strict=True):
        table.add_row(cell(key.path), cell(f"{default}\n{key.range}"), cell(key.meaning))
    console.print(table)
