"""The tree of commands, and `main`: arguments in, exit status out, every error one line on standard error.

Imports click and nothing of the bridge, so that `webhook-bridge --help` is quick.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final

import click
from click.exceptions import NoArgsIsHelpError

from bridge_app.cli.lazy import Lazy, LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C: 128 and the signal's number, as a shell says it."""

_executions = LazyGroup(
    "executions",
    {
        "list": Lazy("bridge_app.cli.executions:list_executions", "The newest executions that match every filter."),
        "show": Lazy("bridge_app.cli.executions:show", "One execution, whole, with the spans inside it."),
        "tail": Lazy("bridge_app.cli.tail:tail", "Print executions as they end, until Ctrl-C."),
    },
    description="Look at the history: list, show, tail.",
)
_storage = LazyGroup(
    "storage",
    {
        "info": Lazy("bridge_app.cli.storage:info", "Kind, place, size and bounds of the store."),
        "copy": Lazy("bridge_app.cli.storage_copy:copy", "Copy the history into another database, and compare."),
        "verify": Lazy("bridge_app.cli.storage_verify:verify", "Compare the statistics with the records they count."),
        "retry": Lazy("bridge_app.cli.storage_retry:retry", "Write the records again that the store refused."),
    },
    description="Look at the store, move it: info, copy, verify, retry.",
)
_destinations = LazyGroup(
    "destinations",
    {
        "list": Lazy("bridge_app.cli.destinations:list_destinations", "The destinations, and what waits for each."),
        "test": Lazy("bridge_app.cli.destinations:test", "Send one span to a destination and print its answer."),
        "retry": Lazy("bridge_app.cli.destinations_retry:retry", "Send the dead letters of a destination again."),
    },
    description="Where executions are forwarded to: list, test, retry.",
)
root = LazyGroup(
    "webhook-bridge",
    {
        "serve": Lazy("bridge_app.cli.serve:serve", "Start the bridge; SIGTERM or Ctrl-C stop it."),
        "check-config": Lazy("bridge_app.cli.configuration:check_config", "Print the effective configuration."),
        "plugins": Lazy("bridge_app.cli.plugins:plugins", "List the plugins and import each, to see which are broken."),
        "run": Lazy("bridge_app.cli.run:run", "Run a plugin once, here, without the bridge; nothing is recorded."),
        "executions": _executions,
        "storage": _storage,
        "destinations": _destinations,
        "export": Lazy("bridge_app.cli.export:export", "Write the history to a file: CSV, JSON, JSON Lines, parquet."),
        "migrate": Lazy("bridge_app.cli.migrate:migrate", "Create or migrate the store's tables."),
        "cleanup": Lazy("bridge_app.cli.cleanup:cleanup", "Delete what the retention does not keep."),
    },
    description="A webhook bridge whose execution history is an OpenTelemetry trace.",
)
root.epilog = (
    "Exit status: 0 done; 1 the plugin failed; 2 the call, the configuration or the store is wrong. "
    "Every command reads ./config.yaml where there is one, or --config FILE, and BRIDGE__SECTION__KEY of the "
    "environment."
)
click.version_option(package_name="otel-webhook-bridge", prog_name="webhook-bridge")(root)


def main() -> None:
    """Run the command line and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 must not end a command
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The exit status of one call."""
    try:
        return int(root.main(list(arguments), prog_name="webhook-bridge", standalone_mode=False) or 0)
    except NoArgsIsHelpError as error:
        error.show()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "webhook-bridge"
        click.echo(f"{command}: {_sentence(error.format_message())} Try '{command} --help'.", err=True)
    except click.ClickException as error:
        click.echo(f"webhook-bridge: {error.format_message()}", err=True)
    except click.Abort:
        return INTERRUPTED
    return 2


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
