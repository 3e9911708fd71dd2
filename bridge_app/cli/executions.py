"""`webhook-bridge executions list` and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from bridge_app.api.parts import parts
from bridge_app.api.rendering import execution_json
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import choosing_options, opened_store, wanted
from bridge_app.cli.spans import span_lines
from bridge_app.cli.tables import print_block, print_fields, print_table
from bridge_app.cli.text import LogEntry, duration_text, json_lines, time_text
from bridge_app.errors import BridgeError
from otel_tracker.query import PageRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otel_tracker.record import SpanRecord

_HEADER = ("started (UTC)", "plugin", "status", "took", "error", "id")
_BLOCKS = ("input", "output", "tags", "metadata", "logs", "traceback")
_NOTHING = ("", "{}", "[]")


@click.command(
    "list",
    cls=Command,
    examples=(
        "webhook-bridge executions list --status failed --since 24h",
        "webhook-bridge executions list --tag job_id:job-123 --json",
        "webhook-bridge executions list --q 'connection refused' --min-duration 2s",
    ),
)
@click.option(
    "--limit",
    metavar="N",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="At most so many, up to 1000.",
)
@choosing_options
@config_option
@json_option
def list_executions(limit: int, config_path: Path | None, *, as_json: bool, **filters: Any) -> None:
    """The newest executions that match every filter.

    Statuses are pending, running, completed, failed, timeout and canceled. With --json the records are whole. A text is
    looked for until the list is full or the history at its end; with --since in a part of it.
    """
    request = PageRequest(filter=wanted(**filters), limit=limit, with_payloads=as_json, with_total=False)
    with opened_store(load_config(config_path).config) as store:
        pages = parts(store, request, most=limit, rows=limit)
        rows = [execution_json(record) for page in pages for record in page.executions]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_HEADER, [execution_cells(row) for row in rows])
    else:
        click.echo("no execution matches", err=True)


@click.command(cls=Command, examples=("webhook-bridge executions show 01a20ef0-6e41-757a-8e6d-f101efbc7666",))
@click.argument("execution_id")
@config_option
@json_option
def show(execution_id: str, config_path: Path | None, *, as_json: bool) -> None:
    """One execution, whole, with the spans inside it.

    Input and output are JSON, laid out for people; --json prints the record as the REST interface does, and its
    `spans`.
    """
    with opened_store(load_config(config_path).config) as store:
        record = store.get(execution_id)
        if record is None:
            raise BridgeError(
                f"there is no execution {execution_id!r}: it may be older than the retention; "
                "`webhook-bridge executions list` shows the newest"
            )
        spans = store.spans(execution_id)
    shown = execution_json(record)
    if as_json:
        print_json({**shown, "spans": [msgspec.structs.asdict(span) for span in spans]})
    else:
        _print(shown, spans)


def execution_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What a line of the list says, the id last."""
    took = duration_text(row["duration"]) if row["end_time"] else ""
    return (time_text(row["start_time"]), row["plugin_name"], row["status"], took, row["error_type"], row["id"])


def _print(shown: dict[str, Any], spans: Sequence[SpanRecord]) -> None:
    narrow = ((name, _narrow(name, value)) for name, value in shown.items() if name not in _BLOCKS)
    print_fields([(name, text) for name, text in narrow if text])
    for name in _BLOCKS:
        text = shown[name]
        if text not in _NOTHING:
            print_block(name, _block_lines(name, text))
    if spans:
        print_block("spans", span_lines(spans))


def _narrow(name: str, value: Any) -> str:
    if name == "duration":
        return f"{duration_text(value)} ({value} ns)" if value else ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)


def _block_lines(name: str, text: str) -> list[str]:
    match name:
        case "logs":
            return _log_lines(text)
        case "traceback":
            return text.rstrip().split("\n")
        case _:
            return json_lines(text)


def _log_lines(text: str) -> list[str]:
    """A line an entry; logs that were cut, and are no JSON any more, as they are."""
    try:
        entries = msgspec.json.decode(text, type=list[LogEntry])
    except msgspec.MsgspecError:
        return text.split("\n")
    return [line for entry in entries for line in entry.lines()]
