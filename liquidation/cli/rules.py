"""`liquidation rules`: the rules in force."""

from pathlib import Path

import click
import orjson

from liquidation.api.rules import rules_in_force
from liquidation.cli.connecting import Server, connected, optional_server_options
from liquidation.cli.options import format_option, policy_of, rules_option, screen
from liquidation.cli.records import proto_json
from liquidation.client.convert import value_of
from liquidation.v1.rules_service_pb2 import GetRulesResponse
from liquidation.values import Rules

__all__ = ["rules"]


@click.command(short_help="The rules in force, in order.")
@optional_server_options
@rules_option
@format_option("json", help_="For people, or for programs: the GetRulesResponse.")
def rules(server: Server | None, rules: Path | None, form: str) -> None:
    """The rules in force: their order and modes, thresholds and limits.

    Those of a server, of a rules file, or the built-in ones.

    \b
    Example:
      liquidation rules --address 127.0.0.1:50051
    """
    if server is not None and rules is not None:
        raise click.UsageError("--address and --rules exclude each other")
    if server is None:
        in_force = value_of(Rules, rules_in_force(policy_of(rules)))
    else:
        with connected(server) as client:
            in_force = client.get_rules()
    if form == "json":
        known = proto_json(GetRulesResponse, in_force)
        click.echo(orjson.dumps(known, option=orjson.OPT_INDENT_2))
    else:
        screen().write_rules(in_force)
