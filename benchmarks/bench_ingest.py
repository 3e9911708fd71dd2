"""How fast ended spans become rows in SQLite, next to the driver's own executemany into the same tables and indexes.

    python -m benchmarks.bench_ingest

Both write the same records into new files, batch by batch in turn, one transaction a batch, with the same pragmas. Ours
converts spans to records, looks for versions that are there already, and upserts; `through the spool` encodes, appends
durably, reads back and delivers, which is the way that a webhook's record takes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks.bridge import BODY
from benchmarks.seed import insert
from exporters.drain import drain_batch
from exporters.spool import Spool
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker import configure
from otel_tracker.conversion import record_from_span
from otel_tracker.storage import open_store
from otel_tracker.storage.dialects.sqlite import _WRITER_PRAGMAS
from otel_tracker.storage.rows import execution_values, payload_values
from otel_tracker.storage.tables import executions, payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_tracker.record import ExecutionRecord

BATCH, ROUNDS = 512, 40


class Keeper(SpanExporter):
    """An exporter that keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep them."""
        self.spans += spans
        return SpanExportResult.SUCCESS


def ended_spans(count: int) -> list[ReadableSpan]:
    """Spans of executions with about 1 kB of input."""
    keeper = Keeper()
    configured = configure(keeper, announces_start=False, shutdown_on_exit=False)
    body = BODY.decode()
    for number in range(count):
        execution = configured.tracker.start("bench", input={"number": number, "body": body})
        execution.set_output({"got": number})
        execution.end()
    return keeper.spans


def raw_write(connection: sqlite3.Connection, records: Sequence[ExecutionRecord]) -> None:
    """What the driver does with rows that are ready."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(insert(executions), map(execution_values, records))
    connection.executemany(insert(payloads), map(payload_values, records))
    connection.execute("COMMIT")


def main() -> None:
    """Print both ratios."""
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as stack:
        folder = Path(root)
        stores = [open_store(f"sqlite:///{folder / name}.db") for name in ("raw", "direct", "spooled")]
        for store in stores:
            stack.callback(store.close)
        raw = stack.enter_context(contextlib.closing(sqlite3.connect(folder / "raw.db", isolation_level=None)))
        for pragma in _WRITER_PRAGMAS:
            raw.execute(f"PRAGMA {pragma}").fetchall()
        raw.execute("PRAGMA foreign_keys=ON")
        direct, delivering = ExecutionRecordExporter(stores[1]), ExecutionRecordExporter(stores[2])
        spool = Spool.open(folder / "spool", instance_id="bench")
        stack.callback(spool.close, timeout_seconds=5)
        spooled, reader = SpooledSpanExporter(delivering, spool), spool.reader()
        took: list[tuple[float, float, float]] = []
        for _ in range(ROUNDS):
            spans = ended_spans(BATCH)
            records = [record for span in spans if (record := record_from_span(span))]
            begun = time.perf_counter()
            raw_write(raw, records)
            written = time.perf_counter()
            direct.export(spans)
            exported = time.perf_counter()
            spooled.export(spans)
            assert spool.flush(timeout_seconds=10)
            while drain_batch(reader, delivering):
                pass
            took.append((written - begun, exported - written, time.perf_counter() - exported))
    rates = [BATCH / statistics.median(column) for column in zip(*took, strict=True)]
    direct_ratio = statistics.median(a / b for a, b, _ in took)
    spooled_ratio = statistics.median(a / c for a, _, c in took)
    print(f"ingest    raw sqlite3.executemany {rates[0]:.0f} rows/s")
    print(f"ingest    spans → records → rows  {rates[1]:.0f} rows/s: ratio {direct_ratio:.2f} (must 0.50, aim 0.80)")
    print(f"ingest    through the spool       {rates[2]:.0f} rows/s: ratio {spooled_ratio:.2f}")


if __name__ == "__main__":
    main()
