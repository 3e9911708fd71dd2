"""`webhook-bridge migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.stores import migrate_configured_store
from otel_tracker.storage.schema import HEAD

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=Command, examples=("webhook-bridge migrate", "webhook-bridge migrate --config staging.yaml"))
@config_option
@json_option
def migrate(config_path: Path | None, *, as_json: bool) -> None:
    """Create or migrate the store's tables.

    Does nothing where they are this version's already, and never goes back. The bridge does it itself when it starts,
    unless storage.auto_migrate is false.
    """
    location = migrate_configured_store(load_config(config_path).config)
    if as_json:
        print_json({"location": location, "revision": HEAD})
    else:
        click.echo(f"The tables in {location} have revision {HEAD}.")
