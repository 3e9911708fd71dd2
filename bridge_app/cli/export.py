"""`webhook-bridge export`: the history as a file, or on standard output; with a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bridge_app.api.export import Export, ExportFormat
from bridge_app.api.filters import chosen_fields
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import choosing_options, errors_of_options, opened_store, wanted
from bridge_app.cli.output_file import whole_file
from bridge_app.cli.text import count_text, size_text
from bridge_app.errors import BridgeError
from otel_tracker.errors import StorageError
from otel_tracker.query import ExecutionFilter, PageRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge_app.api.export.formats import Records
    from otel_tracker.ports import RecordReader

STANDARD_OUTPUT: Final = "-"
GZIP_SUFFIX: Final = ".gz"


@click.command(
    cls=Command,
    examples=(
        "webhook-bridge export --output executions.csv.gz --since 7d",
        "webhook-bridge export --format jsonl --status failed --fields id,plugin_name,error",
    ),
)
@click.option(
    "--format",
    "format_name",
    metavar="FORMAT",
    type=click.Choice([each.value for each in ExportFormat]),
    help="csv, json, jsonl or parquet; by default what the name of FILE ends in, else csv.",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    default=STANDARD_OUTPUT,
    show_default=True,
    help="Where to; - is standard output. A name in .gz makes it a gzip file.",
)
@click.option(
    "--fields", multiple=True, metavar="NAMES", help="Only these fields, separated by commas; may be repeated."
)
@choosing_options
@config_option
@json_option
def export(
    *,
    format_name: str | None,
    output: str,
    fields: tuple[str, ...],
    config_path: Path | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Write the history to a file: CSV, JSON, JSON Lines, parquet.

    Every execution that matches every filter, newest first. FILE is there when the export is whole, and not before.
    With --json the outcome is an object. On a terminal a bar shows how far it is.
    """
    made = _export(format_name, output, fields=fields, chosen=wanted(**filters))
    with opened_store(load_config(config_path).config) as store, _opened(output) as file:
        count, size = _write(store, made, file)
    is_data = output == STANDARD_OUTPUT
    if as_json:
        print_json({"output": output, "format": made.format, "executions": count, "bytes": size}, err=is_data)
    elif not is_data:
        click.echo(f"{count_text(count, 'execution')} in {output}, {size_text(size)}")


def _export(format_name: str | None, output: str, *, fields: Sequence[str], chosen: ExecutionFilter) -> Export:
    is_gzip = output.endswith(GZIP_SUFFIX)
    suffix = Path(output.removesuffix(GZIP_SUFFIX)).suffix.removeprefix(".")
    chosen_format = ExportFormat(format_name or (suffix if suffix in set(ExportFormat) else ExportFormat.CSV))
    if chosen_format.is_compressed and is_gzip:
        raise BridgeError(f"--output is {output!r}: {chosen_format} is compressed in itself; leave {GZIP_SUFFIX} away")
    if chosen_format.is_compressed and output == STANDARD_OUTPUT and sys.stdout.isatty():
        raise BridgeError(f"{chosen_format} is nothing for a terminal: give --output FILE, or send it into a file")
    with errors_of_options():
        return Export(chosen=chosen, fields=chosen_fields(fields), format=chosen_format, as_gzip=is_gzip)


@contextlib.contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    """Where the bytes go; what goes wrong in the middle is told as that. Raises `BridgeError`."""
    try:
        with _target(output) as file:
            yield file
    except StorageError as error:
        unwritten = "what was printed is not whole" if output == STANDARD_OUTPUT else f"{output} was not written"
        raise BridgeError(f"the export broke off, {unwritten}: {error}") from error


def _target(output: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if output == STANDARD_OUTPUT:
        return _standard_output()
    return whole_file(Path(output))


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    stream = sys.stdout.buffer
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BridgeError(f"standard output cannot be written: {error.strerror or error}") from error


def _write(store: RecordReader, made: Export, file: BinaryIO) -> tuple[int, int]:
    """How many executions, and how many bytes."""
    size = 0
    with _progress(output=file) as progress:
        task = progress.add_task("", total=None if progress.disable else _expected(store, made.chosen))
        for chunk in made.file(_advancing(made.records(store), progress, task)):
            size += file.write(chunk)
        return int(progress.tasks[0].completed), size


def _progress(output: BinaryIO) -> Progress:
    """A bar on standard error, where that is a terminal that the export itself does not go to."""
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal or output.isatty())


def _advancing(parts: Iterator[Records], progress: Progress, task: TaskID) -> Iterator[Records]:
    for records in parts:
        yield records
        progress.advance(task, len(records))


def _expected(store: RecordReader, chosen: ExecutionFilter) -> int | None:
    """How many executions there will be, as far as it costs no scan to say so."""
    if chosen == ExecutionFilter():
        return store.info().total_records
    page = store.page(PageRequest(filter=chosen, limit=1, with_payloads=False))
    return page.total if page.total_is_exact else None
