"""What can be exported and how: the formats, their names on the wire and on disk, and the choice of one of them."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Final

import msgspec

from bridge_app.api.export.csv_text import csv_chunks
from bridge_app.api.export.gzip_file import gzipped
from bridge_app.api.export.json_text import json_array_chunks, json_line_chunks
from bridge_app.api.parts import parts
from bridge_app.api.rendering import FIELDS, needs_payloads
from bridge_app.problems import FieldError, NotInstalledError
from otel_tracker.query import ExecutionFilter, PageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from otel_tracker.ports import RecordReader
    from otel_tracker.record import ExecutionRecord

    Records = Sequence[ExecutionRecord]
    Encode = Callable[[Iterator[Records], Sequence[str]], Iterator[bytes]]

MOST_OF_PART: Final = 100
"""Rows that are read at a time: 250 take 6 % less time, and hold more where small records are followed by big ones."""

PIECE_BYTES: Final = 64 * 1024


class ExportFormat(StrEnum):
    """The value is the parameter's and, behind a dot, the file name's ending."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """As `Content-Type` says it."""
        return _MEDIA_TYPES[self]

    @property
    def is_compressed(self) -> bool:
        """Whether gzip would only cost time, and the file is nothing to look at."""
        return self is ExportFormat.PARQUET


_MEDIA_TYPES: Final = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.JSON: "application/json",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
}


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What to export. Raises `FieldError` for gzip around parquet, `NotInstalledError` for parquet without pyarrow."""

    chosen: ExecutionFilter = ExecutionFilter()
    fields: tuple[str, ...] = ()
    """Of each record, in this order; empty means all."""
    format: ExportFormat = ExportFormat.CSV
    as_gzip: bool = False
    """Whether the file itself is a gzip file."""

    def __post_init__(self) -> None:
        if self.as_gzip and self.format.is_compressed:
            raise FieldError(f"is of no use with {self.format}, which is compressed in itself", field="compress")
        self._encoder()

    def records(self, store: RecordReader) -> Iterator[Records]:
        """The records, a hundred at a time: at least one part, which may be empty. Raises `StorageError`."""
        request = PageRequest(filter=self.chosen, with_payloads=needs_payloads(self.fields), with_total=False)
        pages = enumerate(parts(store, request, most=MOST_OF_PART))
        return (page.executions for number, page in pages if page.executions or not number)

    def file(self, records: Iterator[Records]) -> Iterator[bytes]:
        """The file that holds these records, in pieces of `PIECE_BYTES` or more. Raises what `records` raises."""
        chunks = gathered(self._encoder()(records, self.fields or FIELDS))
        return gzipped(chunks) if self.as_gzip else chunks

    def _encoder(self) -> Encode:
        match self.format:
            case ExportFormat.CSV:
                return csv_chunks
            case ExportFormat.JSON:
                return json_array_chunks
            case ExportFormat.JSONL:
                return json_line_chunks
            case ExportFormat.PARQUET:
                return _parquet_encoder()


def gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces put together: each that is sent costs a change of threads and a system call."""
    held, size = [], 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _parquet_encoder() -> Encode:
    """Imported when it is asked for: an optional package, and 0.2 s."""
    try:
        encode: Encode = import_module("bridge_app.api.export.parquet_file").parquet_chunks
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            "Parquet needs the package pyarrow, which is not installed: pip install 'otel-webhook-bridge[parquet]'."
        ) from error
    return encode
