"""`webhook-bridge storage copy`: the history into another database, compared row by row; with a bar on a terminal."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bridge_app.api.rendering import rfc3339
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.database_url import with_password
from bridge_app.cli.history import opened_store
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import count_text, one_line
from bridge_app.errors import BridgeError
from otel_tracker.storage import open_store
from otel_tracker.storage.copying import CopyResult, HistoryCopy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_tracker.storage.fidelity import CopyCheck
    from otel_tracker.storage.store import SqlStore

_STATEMENT_SECONDS: Final = 60.0
"""For a batch with large payloads, of which nobody waits for the answer."""
_SHOWN_DIGITS: Final = 16


@click.command(
    cls=Command,
    examples=(
        "webhook-bridge storage copy --to 'postgresql://bridge:${COPY_PASSWORD}@db.example.com/history'",
        "webhook-bridge storage copy --to sqlite:///history.db --verify-only",
    ),
)
@click.option(
    "--to",
    "target_url",
    metavar="URL",
    required=True,
    help="The other database: sqlite:///, postgresql:// or mysql://. A password `${NAME}` is that variable's value.",
)
@click.option("--verify-only", is_flag=True, help="Only compare what is there.")
@config_option
@json_option
def copy(config_path: Path | None, *, target_url: str, verify_only: bool, as_json: bool) -> None:
    """Copy the history into another database, and compare.

    The other database is to be empty, or an earlier copy: then what is missing follows, and what ended since is
    replaced. A running bridge goes on meanwhile; what starts after the copy is left out. Exit status 1 where the two
    differ.
    """
    started_before = time.time_ns()
    with (
        opened_store(load_config(config_path).config) as source,
        contextlib.closing(_target(with_password(target_url, os.environ), source, must_exist=verify_only)) as target,
    ):
        copying = HistoryCopy(source, target, started_before=started_before)
        with _advancing(source) as advance:
            result = copying.verify(advance=advance) if verify_only else copying.run(advance=advance)
        shown = _json(result, source, target) | {"started_before": rfc3339(started_before)}
    if as_json:
        print_json(shown)
    else:
        _print(result, f"{shown['source']} and {shown['target']}")
    if not shown["is_equal"]:
        raise click.exceptions.Exit(1)


def _target(url: str, source: SqlStore, *, must_exist: bool) -> SqlStore:
    """Makes what is missing, unless it must be there. Raises `BridgeError`, `TrackerError`; none tells a password."""
    kind, _, path = url.partition(":///")
    if must_exist and kind == "sqlite" and not Path(path.partition("?")[0]).exists():
        raise BridgeError("--verify-only compares what is there, and the database of --to is not: copy first")
    return open_store(
        url,
        statement_timeout_seconds=_STATEMENT_SECONDS,
        auto_migrate=not must_exist,
        bucket_seconds=source.bucket_seconds(),
    )


@contextlib.contextmanager
def _advancing(source: SqlStore) -> Iterator[Callable[[str, int], None]]:
    """A bar for what is done now, on standard error where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = source.info().total_records if console.is_terminal else None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, total=total).advance


class _Bar:
    """Begins anew with each kind of work."""

    def __init__(self, progress: Progress, *, total: int | None) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=total)
        self._work = ""

    def advance(self, work: str, count: int) -> None:
        if work != self._work:
            self._work = work
            self._progress.reset(self._task, description=work)
        self._progress.advance(self._task, count)


def _json(result: CopyResult | CopyCheck, source: SqlStore, target: SqlStore) -> dict[str, Any]:
    check = result.check if isinstance(result, CopyResult) else result
    shown: dict[str, Any] = {"source": source.info().location, "target": target.info().location}
    if isinstance(result, CopyResult):
        shown |= {"written": result.written, "rejected": result.rejected}
    tables = [{**msgspec.structs.asdict(one), "is_equal": one.is_equal} for one in check.tables]
    return shown | msgspec.structs.asdict(check) | {"tables": tables, "is_equal": check.is_equal}


def _print(result: CopyResult | CopyCheck, both: str) -> None:
    check = result.check if isinstance(result, CopyResult) else result
    if isinstance(result, CopyResult):
        click.echo(f"{count_text(result.written, 'row')} written")
        for line in result.rejected:
            click.echo(f"refused: {one_line(line)}")
    _print_tables(check)
    if check.differences:
        print_table(("table", "difference", "key"), [(one.table, one.difference, one.key) for one in check.differences])
    if (more := check.total_differences - len(check.differences)) > 0:
        click.echo(f"… and {more} more")
    if wrong := check.rollups.total_differences:
        click.echo(
            f"{count_text(wrong, 'figure')} of the target's statistics wrong: `storage verify` there tells which"
        )
    click.echo(f"{both} {'are equal' if check.is_equal else 'differ'}")


def _print_tables(check: CopyCheck) -> None:
    header = ("table", "rows", "copied", "SHA-256", "of the copy")
    rows = [
        (one.table, str(one.source_rows), str(one.target_rows), one.source_sha256[:_SHOWN_DIGITS],
         one.target_sha256[:_SHOWN_DIGITS])
        for one in check.tables
    ]  # fmt: skip
    print_table(header, rows)
