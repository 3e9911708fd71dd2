"""Tables on a terminal, plain columns in a pipe. Nothing is ever cut: an id must stay one that can be copied.

Colours as rich decides: none in a pipe, none with NO_COLOR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bridge_app.cli.text import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLES: Final = {
    "completed": "green",
    "ready": "green",
    "failed": "red",
    "timeout": "red",
    "broken": "red",
    "canceled": "yellow",
    "stale": "yellow",
    "running": "cyan",
    "pending": "cyan",
    "loading": "cyan",
}


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns; on a terminal that is too narrow for them, the last column of each row on a line of its own."""
    console = Console(highlight=False)
    table = Table(*header, box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    width = Measurement.get(console, console.options.update_width(1_000_000), table).maximum
    if console.is_terminal and width > console.width:
        _print_blocks(console, rows)
        return
    console.width = width
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n")))


def _print_blocks(console: Console, rows: Sequence[Sequence[str]]) -> None:
    with console.capture() as capture:
        for row in rows:
            cells = [_cell(value) for value in row]
            console.print(Text("  ").join(cell for cell in cells[:-1] if cell), soft_wrap=True)
            console.print(Text("  ") + cells[-1], soft_wrap=True)
    click.echo(capture.get(), nl=False)


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """`name  value`, a line each."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{name:<{width}}  {one_line(value)}")


def print_block(name: str, lines: Sequence[str]) -> None:
    """A name, and its lines indented below it."""
    click.echo(name)
    for line in lines:
        click.echo(f"  {visible(line)}".rstrip())


def _cell(value: str) -> Text:
    return Text(one_line(value), style=_STYLES.get(value, ""))
