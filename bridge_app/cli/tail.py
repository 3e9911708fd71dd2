"""`webhook-bridge executions tail`: the history as it grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from bridge_app.api.rendering import encode_json, execution_json
from bridge_app.cli.command import Command, config_option, json_option, load_config
from bridge_app.cli.executions import execution_cells
from bridge_app.cli.follow import Follower
from bridge_app.cli.history import narrowing_options, opened_store, wanted
from bridge_app.cli.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

_WIDTHS = (19, 16, 9, 9, 16, 36)


@click.command(
    cls=Command,
    examples=(
        "webhook-bridge executions tail --status failed",
        "webhook-bridge executions tail --min-duration 500ms --json",
    ),
)
@narrowing_options
@click.option(
    "--interval",
    metavar="SECONDS",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0.05, 3600),
    help="Seconds between looks.",
)
@click.option(
    "--count", metavar="N", default=0, type=click.IntRange(0), help="Stop after so many; 0, the default, is never."
)
@config_option
@json_option
def tail(interval: float, count: int, config_path: Path | None, *, as_json: bool, **filters: Any) -> None:
    """Print executions as they end, until Ctrl-C.

    With --json an object a line, whole. An execution that a crashed bridge left in its spool is in the history after
    the next start, but may be older than what is looked at here.
    """
    chosen = wanted(**filters)
    with opened_store(load_config(config_path).config) as store:
        follower = Follower(store, chosen, now=time.time_ns(), with_payloads=as_json)
        printed = 0
        while True:
            for record in follower.look():
                row = execution_json(record)
                click.echo(encode_json(row) if as_json else _line(row))
                printed += 1
                if printed == count:
                    return
            time.sleep(interval)


def _line(row: dict[str, Any]) -> str:
    cells = (one_line(cell).ljust(width) for cell, width in zip(execution_cells(row), _WIDTHS, strict=True))
    return "  ".join(cells).rstrip()
