"""`webhook-bridge cleanup`: the retention, now, with a progress bar on a terminal."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import opened_store
from bridge_app.cli.text import count_text, size_text
from bridge_app.config_binding import parse_duration
from bridge_app.errors import BridgeError

if TYPE_CHECKING:
    from pathlib import Path

    from otel_tracker.ports import ExecutionStore
    from otel_tracker.query import PruneResult

_LOOK_SECONDS = 0.25


@click.command(cls=Command, examples=("webhook-bridge cleanup --dry-run", "webhook-bridge cleanup --older-than 7d"))
@click.option("--older-than", metavar="DURATION", help="Instead of the configured retention: 7d, 24h.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@config_option
@json_option
def cleanup(older_than: str | None, config_path: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete executions that are older than the retention.

    In small batches, so that a running bridge goes on; executions that still run stay. The space goes back to the
    disk. Statistics stay for execution_tracking.rollup_retention_days. On a terminal a bar shows how far it is.
    """
    config = load_config(config_path).config
    age_seconds = config.retention_days() * 86_400 if older_than is None else _seconds(older_than)
    before = time.time_ns() - age_seconds * 1_000_000_000
    with opened_store(config) as store:
        result = _prune(store, before, dry_run=dry_run)
        if older_than is None and not dry_run:
            kept_seconds = config.execution_tracking.rollup_retention_days * 86_400
            store.prune_rollups(started_before=time.time_ns() - kept_seconds * 1_000_000_000)
    if as_json:
        print_json({"deleted": result.deleted, "freed_bytes": result.freed_bytes, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"{count_text(result.deleted, 'execution')} would be deleted")
    else:
        click.echo(f"{count_text(result.deleted, 'execution')} deleted, {size_text(result.freed_bytes)} given back")


def _seconds(older_than: str) -> int:
    try:
        return parse_duration(older_than)
    except ValueError:
        raise BridgeError(f"--older-than is {older_than!r}: expected a duration, such as 7d or 24h") from None


def _prune(store: ExecutionStore, before: int, *, dry_run: bool) -> PruneResult:
    console = Console(stderr=True)
    if dry_run or not console.is_terminal:
        return store.prune(started_before=before, dry_run=dry_run)
    return _prune_with_progress(store, before, console=console)


def _prune_with_progress(store: ExecutionStore, before: int, *, console: Console) -> PruneResult:
    """The store counts what is left while a thread deletes: the ports need no callback for it."""
    total = store.prune(started_before=before, dry_run=True).deleted
    pruning = _Pruning(store, before)
    columns = (TextColumn("deleting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        pruning.start()
        while pruning.is_alive():
            progress.update(task, completed=total - store.prune(started_before=before, dry_run=True).deleted)
            pruning.join(_LOOK_SECONDS)
        progress.update(task, completed=total)
    return pruning.result()


class _Pruning(threading.Thread):
    """One prune in a thread. A daemon: Ctrl-C ends the command, and the batch under way is rolled back."""

    def __init__(self, store: ExecutionStore, before: int) -> None:
        super().__init__(name="cleanup", daemon=True)
        self._store = store
        self._before = before
        self._outcome: PruneResult | Exception | None = None

    def run(self) -> None:
        try:
            self._outcome = self._store.prune(started_before=self._before)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._outcome = error

    def result(self) -> PruneResult:
        """What it deleted; raises what it raised."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None  # noqa: S101 - narrows a type; it has ended
        return self._outcome
