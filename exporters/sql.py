"""ExecutionRecordExporter: spans → records → store.

Two ways in. As a plain OpenTelemetry SpanExporter (`export`) it writes at once, with any provider and processor. Behind
a spool, `encode` makes the bytes that a SpooledSpanExporter keeps, and `deliver` writes them later, where a Drain calls
it: the database is never touched on the caller's path.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

import msgspec
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from exporters.drain import Delivered
from exporters.isolation import Trial
from exporters.spooled import Frame
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.errors import (
    StorageError,
    StorageLockedError,
    StorageRefusesError,
    StorageSchemaError,
    StorageUnavailableError,
)
from otel_tracker.failsafe import failsafe
from otel_tracker.query import WriteResult
from otel_tracker.record import ExecutionRecord, Row
from otel_tracker.storage import open_store
from otel_tracker.storage.rows import sanitized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_tracker.ports import ExecutionStore, RecordWriter
    from otel_tracker.query import SpoolPosition

DATABASE_URL_VARIABLE: Final = "OTEL_TRACKER_DATABASE_URL"
"""Read only where the SDK makes the exporter itself (OTEL_TRACES_EXPORTER=execution_record): it passes no arguments."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Row]] = msgspec.msgpack.Decoder(Row)


class ExecutionRecordExporter(SpanExporter):
    """Writes the executions among the spans into a store; other spans are none of its business."""

    name = "history"

    def __init__(self, store: RecordWriter | None = None) -> None:
        """Write to `store`; without one, to the database that `OTEL_TRACKER_DATABASE_URL` names."""
        self.stored = 0
        """Rows that `deliver` wrote and the store did not have."""
        self._store = store
        self._opened: ExecutionStore | None = None
        self._lock = threading.Lock()

    def use(self, store: RecordWriter | None) -> None:
        """Write to this store from now on; None: the store is away."""
        self._store = store

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write these spans' records now; FAILURE where the store refuses."""
        rows = [row for span in spans if (row := self._row(span)) is not None]
        if not rows:
            return SpanExportResult.SUCCESS
        try:
            self._writer().write(rows)
        except Exception as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("exporter.export", error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def encode(self, span: ReadableSpan) -> Frame | None:
        """The span's record as bytes for a spool; None where it is no execution's."""
        row = self._row(span)
        return None if row is None else encode_row(row)

    def position(self, instance_id: str) -> SpoolPosition | None:
        """How far that spool was delivered. Raises `StorageUnavailableError`."""
        return self._writer().position(instance_id)

    def deliver(
        self,
        frames: Sequence[bytes],
        *,
        until: SpoolPosition | None = None,
        settle: Callable[[Delivered], object] = lambda _: None,
    ) -> Delivered:
        """Write a spool's frames, and with them how far that is: both or neither. See `drain.Destination`.

        Raises `StorageUnavailableError` where they must be kept and tried again.
        """
        rows: list[Row] = []
        origin: list[int] = []
        rejected: list[tuple[int, str]] = []
        for index, frame in enumerate(frames):
            try:
                rows.append(_decoder.decode(frame))
                origin.append(index)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                rejected.append((index, f"undecodable: {error}"))

        def delivered(result: WriteResult) -> Delivered:
            refused = [(origin[index], reason) for index, reason in result.rejected]
            lost = len(rejected) + sum(_is_end(rows[index]) for index in result.lost)
            return Delivered(rejected=(*rejected, *refused), lost=lost)

        def tell(result: WriteResult) -> None:
            settle(delivered(result))

        if rows or until is not None:
            result = self._writer().write(rows, position=until, before_commit=tell)
            self.stored += result.stored
        else:
            result = WriteResult(stored=0, unchanged=0)
            tell(result)
        return delivered(result)

    def may_be_a_frames_fault(self, error: Exception) -> bool:
        """Not where the tables are wrong, the store is full or lets nobody write, or does not answer now."""
        if isinstance(error, (StorageRefusesError, StorageSchemaError)):
            return False
        try:
            self._writer().ping()
        except StorageError:
            return False
        return True

    def is_a_lock(self, error: Exception) -> bool:
        """Of a row."""
        return isinstance(error, StorageLockedError)

    def try_one(self, frame: bytes) -> Trial:
        """Write it alone, where the store does not know it yet."""
        try:
            result = self._writer().write([_decoder.decode(frame)])
        except Exception:  # noqa: BLE001 - why not does not matter: it is delivered again, and fails then
            return Trial(is_taken=False)
        repaired = "" if result.lost else "".join(reason for _, reason in result.rejected)
        return Trial(is_taken=result.stored > 0, refused=repaired)

    def lost_with(self, frame: bytes) -> int:
        """An end, or a frame that cannot be read."""
        try:
            return int(_is_end(_decoder.decode(frame)))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return 1

    def shutdown(self) -> None:
        """Nothing is held back here; the store belongs to whoever opened it, so one that was opened here is closed."""
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                self._store = None
                opened.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the signature is the caller's
        """Everything exported is written already."""
        return True

    def _row(self, span: ReadableSpan) -> Row | None:
        return record_from_span(span) or child_from_span(span)

    def _writer(self) -> RecordWriter:
        store = self._store
        if store is not None:
            return store
        url = os.environ.get(DATABASE_URL_VARIABLE)
        if url is None:
            raise StorageUnavailableError("no store is open")
        with self._lock:
            if self._store is None:
                self._store = self._opened = open_store(url)
            return self._store


def _is_end(row: Row) -> bool:
    return isinstance(row, ExecutionRecord) and row.status.is_final


def encode_row(row: Row) -> Frame:
    """A row as bytes for a spool."""
    try:
        data = _encoder.encode(row)
    except (UnicodeEncodeError, OverflowError):  # an attribute that some code set past `capture`
        row = sanitized(row)  # type: ignore[type-var]  # it is one or the other
        data = _encoder.encode(row)
    return Frame(data=data, record=row if isinstance(row, ExecutionRecord) else None)


def decode_frame(frame: bytes) -> Row:
    """A spool's frame as the row it holds; raises `msgspec.MsgspecError` where it holds none."""
    return _decoder.decode(frame)
