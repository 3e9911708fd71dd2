"""`webhook-bridge cleanup`: the retention, now, with a progress bar on a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge_app.cleaning import Bounds, older_than
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import opened_store
from bridge_app.cli.text import count_text, size_text
from bridge_app.errors import BridgeError
from bridge_app.units import parse_duration

if TYPE_CHECKING:
    from pathlib import Path

    from otel_tracker.ports import ExecutionStore
    from otel_tracker.query import PruneResult, RetentionPolicy


@click.command(cls=Command, examples=("webhook-bridge cleanup --dry-run", "webhook-bridge cleanup --older-than 7d"))
@click.option("--older-than", "age", metavar="DURATION", help="Instead of the configured retention: 7d, 24h.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@config_option
@json_option
def cleanup(age: str | None, config_path: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete what the retention does not keep.

    By age, by count per plugin and by bytes, as configured; with --older-than by that age only. In small batches, so
    that a running bridge goes on; executions that still run stay. The space goes back to the disk. Statistics stay for
    execution_tracking.rollup_retention_days. On a terminal a bar shows how far it is. One process cleans a store at a
    time. What is interrupted goes on the next time.
    """
    config = load_config(config_path).config
    bounds, now = Bounds.from_config(config), time.time_ns()
    policy = bounds.policy(now=now) if age is None else older_than(_seconds(age), now=now)
    with opened_store(config) as store:
        result = _prune(store, policy, dry_run=dry_run)
        if age is None and not dry_run:
            store.prune_rollups(started_before=bounds.rollups_before(now=now))
    if as_json:
        print_json(asdict(result))
    else:
        for line in _lines(result):
            click.echo(line)


def _seconds(age: str) -> int:
    try:
        seconds = parse_duration(age)
    except ValueError:
        seconds = 0
    if not seconds:
        raise BridgeError(f"--older-than is {age!r}: expected a duration, such as 7d or 24h")
    return seconds


def _lines(result: PruneResult) -> list[str]:
    counted = count_text(result.deleted, "execution")
    if result.dry_run:
        over = result.removed_bytes
        more = [f"{size_text(over)} more than max_bytes are stored: they would go, too"] if over else []
        return [f"{counted} would be deleted", *more]
    lines = [f"{counted} deleted, {size_text(result.freed_bytes)} given back"]
    if result.payloads_deleted:
        lines.append(f"{count_text(result.payloads_deleted, 'execution')} kept without payload")
    return lines


def _prune(store: ExecutionStore, policy: RetentionPolicy, *, dry_run: bool) -> PruneResult:
    console = Console(stderr=True)
    if dry_run or not console.is_terminal:
        return store.prune(**asdict(policy), dry_run=dry_run)
    return _prune_with_progress(store, policy, console=console)


def _prune_with_progress(store: ExecutionStore, policy: RetentionPolicy, *, console: Console) -> PruneResult:
    """The bar counts executions; what goes for its bytes only cannot be counted before."""
    total = store.prune(**asdict(policy), dry_run=True).deleted
    columns = (TextColumn("deleting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)

        def show(done: PruneResult) -> bool:
            progress.update(task, completed=done.deleted, total=max(total, done.deleted))
            return True

        return store.prune(**asdict(policy), on_batch=show)
