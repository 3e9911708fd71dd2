"""A group of commands that are imported when they are used: `--help` must not pay for a web server and a database."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lazy(NamedTuple):
    """Where a command is, `package.module:name`, and the line that a list of commands shows of it."""

    target: str
    summary: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, name = self.target.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - narrows a type; a test loads every command
        return command


class LazyGroup(click.Group):
    """Lists its entries in their order, without importing one."""

    def __init__(self, name: str, entries: Mapping[str, Lazy | click.Group], *, description: str) -> None:
        super().__init__(name, help=description)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as given."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        entry = self.entries.get(cmd_name)
        return entry.load() if isinstance(entry, Lazy) else entry

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument; a name that is not there is told with the nearest one that is."""
        name = args[0]
        if name not in self.entries and not name.startswith("-"):
            close = get_close_matches(name, self.entries, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self.entries)}."
            ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(entry)) for name, entry in self.entries.items()])


def _summary(entry: Lazy | click.Group) -> str:
    return entry.summary if isinstance(entry, Lazy) else entry.help or ""
