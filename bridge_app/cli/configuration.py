"""`webhook-bridge check-config`: what the bridge would use, and whether it would start with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.tables import print_table
from bridge_app.config import effective_tree, require_safe_bind
from bridge_app.stores import state_of_configured_store

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "check-config",
    cls=Command,
    examples=(
        "webhook-bridge check-config",
        "webhook-bridge check-config --config new.yaml --connect",
    ),
)
@click.option("--connect", is_flag=True, help="Look whether the store can be used, too; nothing is made or changed.")
@config_option
@json_option
def check_config(config_path: Path | None, *, connect: bool, as_json: bool) -> None:
    """Print the effective configuration.

    Every key with its value, secrets masked, and where the value came from: the default, a line of the file, or the
    environment. A configuration that the bridge would not start with is one line that says why, and exit status 2. The
    bridge starts without its store, too: whether that answers, only --connect asks.
    """
    loaded = load_config(config_path)
    require_safe_bind(loaded.config)
    rows = effective_tree(loaded)
    if as_json:
        print_json([{"key": key, "value": value, "origin": origin} for key, value, origin in rows])
    else:
        print_table(("key", "value", "origin"), rows)
    if connect:
        click.echo(state_of_configured_store(loaded.config), err=as_json)
