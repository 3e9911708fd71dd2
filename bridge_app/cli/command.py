"""What every command shares: `--config`, `--json`, examples in its help, errors as one line and exit status 2."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from bridge_app.config import Config
from bridge_app.errors import BridgeError
from bridge_app.problems import EdgeError
from otel_tracker.errors import TrackerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge_app.config import LoadedConfig

READER_GONE: Final = 141
"""The exit status when the reader of our output went away, as of `| head`: 128 and SIGPIPE's number."""

config_option = click.option(
    "--config",
    "-c",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration; ./config.yaml where there is one by default.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class FailureError(click.ClickException):
    """What went wrong, for people; exit status 2."""

    exit_code = 2


class Command(click.Command):
    """A command with examples, whose errors of ours are a line and not a traceback.

    Its function may return an exit status.
    """

    def __init__(self, *args: Any, examples: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except (BridgeError, TrackerError, EdgeError) as error:
            raise FailureError(str(error)) from error
        except BrokenPipeError:
            _discard_output()
            raise click.exceptions.Exit(READER_GONE) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, each in a line of its own."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for example in self.examples:
                formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def load_config(path: Path | None) -> LoadedConfig:
    """The configuration that the command is to use. Raises `ConfigError`."""
    return Config.load(path, os.environ)


def print_json(value: object, *, err: bool = False) -> None:
    """An object for programs; its lines are for people who look."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), err=err)


def _discard_output() -> None:
    """Let the interpreter flush into nothing at its end, instead of complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
