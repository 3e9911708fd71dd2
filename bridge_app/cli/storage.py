"""`webhook-bridge storage info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge_app.api.rendering import storage_json
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import opened_store
from bridge_app.cli.tables import print_fields
from bridge_app.cli.text import size_text

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=Command, examples=("webhook-bridge storage info",))
@config_option
@json_option
def info(config_path: Path | None, *, as_json: bool) -> None:
    """Kind, place, size and bounds of the store."""
    with opened_store(load_config(config_path).config) as store:
        shown = storage_json(store.info())
    if as_json:
        print_json(shown)
    else:
        shown["size"] = f"{size_text(shown['size'])} ({shown['size']} bytes)"
        print_fields([(name, "none" if value is None else str(value)) for name, value in shown.items()])
