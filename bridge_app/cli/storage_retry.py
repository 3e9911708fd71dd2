"""`webhook-bridge storage retry`: what the store refused lies in dead/ of a spool; it is written again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from bridge_app.api.rendering import rfc3339
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import opened_store
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import count_text, one_line, time_text
from exporters.dead_frames import dead_frames
from exporters.sql import ExecutionRecordExporter, decode_frame
from otel_tracker.errors import StorageError
from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.dead_frames import DeadFrame
    from otel_tracker.ports import RecordWriter
    from otel_tracker.record import Row

WAITING, STORED, KNOWN, REPAIRED, REFUSED = "waiting", "stored", "known", "repaired", "refused"
_SAID: Final = {
    WAITING: "to be tried again",
    STORED: "stored",
    KNOWN: "there already, or deleted since",
    REPAIRED: "there in a form that the store takes; the original stays in its file",
    REFUSED: "refused again",
}


@click.command(cls=Command, examples=("webhook-bridge storage retry --dry-run", "webhook-bridge storage retry"))
@click.option("--dry-run", is_flag=True, help="Only list what would be tried.")
@config_option
@json_option
def retry(config_path: Path | None, *, dry_run: bool, as_json: bool) -> int:
    """Write the records again that the store refused.

    They lie in the folders dead/ below the spool, a file each; what is stored is deleted there. For when the reason is
    gone: a trigger, a lock, a limit. A running bridge goes on meanwhile, and what was deleted does not come back. Exit
    status 1 where a record is refused again.
    """
    config = load_config(config_path).config
    found = dead_frames(config.spool_directory())
    if dry_run or not found:
        rows = [_row(one, _held(one), outcome=WAITING) for one in found]
    else:
        with opened_store(config) as store:
            rows = [_tried(one, store) for one in found]
    if as_json:
        print_json(rows)
    else:
        _print(rows)
    return int(any(row["outcome"] == REFUSED for row in rows))


def _tried(one: DeadFrame, store: RecordWriter) -> dict[str, Any]:
    """Raises `StorageError` where the store takes nothing from anybody now."""
    held = _held(one)
    if held is None:
        return _row(one, None, outcome=REFUSED, why="the file holds no record")
    try:
        result = store.write([held])
    except StorageError as error:
        if not ExecutionRecordExporter(store).may_be_a_frames_fault(error):
            raise
        return _row(one, held, outcome=REFUSED, why=str(error))
    if result.rejected:
        return _row(one, held, outcome=REFUSED if result.lost else REPAIRED, why=result.rejected[0][1])
    one.forget()
    return _row(one, held, outcome=STORED if result.stored else KNOWN)


def _held(one: DeadFrame) -> Row | None:
    try:
        return decode_frame(one.path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _row(one: DeadFrame, held: Row | None, *, outcome: str, why: str = "") -> dict[str, Any]:
    execution_id, plugin_name = None, None
    if isinstance(held, ExecutionRecord):
        execution_id, plugin_name = held.id, held.plugin_name
    elif held is not None:
        execution_id = held.execution_id
    return {
        "file": str(one.path),
        "instance_id": one.instance_id,
        "refused_at": rfc3339(one.refused_at),
        "reason": one.reason,
        "execution_id": execution_id,
        "plugin_name": plugin_name,
        "outcome": outcome,
        "why": why,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    """Those that stay in dead/, a line each; then how many of each outcome."""
    remaining = [row for row in rows if row["outcome"] not in {STORED, KNOWN}]
    if remaining:
        print_table(
            ("refused (UTC)", "plugin", "execution", "reason"),
            [
                (
                    time_text(row["refused_at"]),
                    row["plugin_name"] or "",
                    row["execution_id"] or row["file"],
                    one_line(row["why"]) or row["reason"],
                )
                for row in remaining
            ],
        )
    for outcome, said in _SAID.items():
        if count := sum(row["outcome"] == outcome for row in rows):
            click.echo(f"{count_text(count, 'record')} {said}")
    if not rows:
        click.echo("the store has refused nothing that is still kept")
