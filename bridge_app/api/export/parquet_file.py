"""Records as a parquet file, written in row groups. Imported only where pyarrow is installed (the extra `parquet`).

Times are timestamps in UTC with nanoseconds, `duration` and the counts are 64-bit integers, `payload_deleted` is a
boolean, everything else is text.
The index of a parquet file is its end: what broke off cannot be opened.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from msgspec.structs import fields as struct_fields

from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP_ROWS: Final = 10_000
"""The writer keeps some kilobytes of index for each group until the end: groups must not be small."""
GROUP_BYTES: Final = 16 * 1024 * 1024
BATCH_ROWS: Final = 25
"""What is copied into columns at once; a part of the history may be a hundred records of a megabyte."""
_TIMES: Final = frozenset({"start_time", "end_time", "created_at", "updated_at"})
_INTEGERS: Final = frozenset(field.name for field in struct_fields(ExecutionRecord) if field.type is int) - _TIMES

_BOOLEANS: Final = frozenset(field.name for field in struct_fields(ExecutionRecord) if field.type is bool)


def parquet_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece for each row group, and the index."""
    schema, sink = _schema(fields), _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for group in _groups(_batches(parts, schema)):
            writer.write_table(pa.Table.from_batches(group, schema))
            yield sink.taken()
    yield sink.taken()


def _schema(fields: Sequence[str]) -> Any:
    return pa.schema([pa.field(name, _type(name)) for name in fields])


def _type(name: str) -> Any:
    if name in _TIMES:
        return pa.timestamp("ns", tz="UTC")
    if name in _BOOLEANS:
        return pa.bool_()
    return pa.int64() if name in _INTEGERS else pa.string()


def _batches(parts: Iterator[Sequence[ExecutionRecord]], schema: Any) -> Iterator[Any]:
    for records in (part[begin : begin + BATCH_ROWS] for part in parts for begin in range(0, len(part), BATCH_ROWS)):
        columns = [pa.array([getattr(record, column.name) for record in records], column.type) for column in schema]
        yield pa.record_batch(columns, schema=schema)


def _groups(batches: Iterator[Any]) -> Iterator[list[Any]]:
    """As many batches as make a row group."""
    group: list[Any] = []
    rows = size = 0
    for batch in batches:
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


class _Sink(io.RawIOBase):
    """A file that holds what was written since the last look."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(self._written[-1])

    def taken(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)
