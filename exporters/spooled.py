"""SpooledSpanExporter: spans into a durable spool, at once; a Drain delivers them later, from a thread or a process.

In: spans. Out: bytes in the spool. It never blocks or raises into the caller of `export`. An execution's start is put
off for a moment, because most end before, and then their end says it all.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from opentelemetry.sdk.trace.export import SpanExportResult

from exporters.account import NOT_ENCODED, Account
from exporters.unsettled import Unsettled
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.failsafe import failsafe
from otel_tracker.record import ExecutionRecord
from otel_tracker.spans import given

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from exporters.absent_spool import AbsentSpool
    from exporters.spool import Spool

ANNOUNCE_AFTER_SECONDS: Final = 0.1
"""How old an execution must be for its start to be kept. One that is killed younger leaves no trace, and no answer."""
_SETTLE_EVERY_SECONDS: Final = 0.25


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A span as bytes to keep."""

    data: bytes
    record: ExecutionRecord | None = None
    """The execution that it is; None for any other span."""


class EncodesSpans(Protocol):
    """What turns a span into bytes."""

    def encode(self, span: ReadableSpan) -> Frame | None:
        """The span as bytes; None where it is not wanted. Pure and quick."""
        ...


class Receipt:
    """What happened to the final frame of one execution: its sequence number in the spool, or None."""

    __slots__ = ("sequence",)

    def __init__(self) -> None:
        self.sequence: int | None = None


class SpooledSpanExporter:
    """An exporter for ExecutionProcessor: durable within a group commit.

    Something must drain the spool: `Drain(destination, spool.reader())` in a thread, or a `DrainProcess`.
    """

    def __init__(self, encoder: EncodesSpans, spool: Spool | AbsentSpool) -> None:
        self.spool = spool
        self.unsettled = Unsettled()
        """Executions that are on their way to the store, for readers that cannot wait."""
        self.account = Account()
        """What became of the executions that ended."""
        self.received = 0
        """How many of them ran in another program, which sent them here."""
        self._encoder = encoder
        self._receipts: dict[str, Receipt] = {}
        self._starts: dict[int, tuple[float, ReadableSpan]] = {}
        self._has_starts = threading.Event()
        self._stopping = threading.Event()
        self._announcer = threading.Thread(target=self._announce, name="announce-starts", daemon=True)

    def start(self) -> None:
        """Begin to announce what still runs."""
        self._announcer.start()

    def expect(self, execution_id: str) -> Receipt:
        """Ask for a receipt of this execution's end, before it ends."""
        receipt = self._receipts[execution_id] = Receipt()
        return receipt

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans to the spool; FAILURE where one was not taken (full, closed), which the spool counts."""
        result = SpanExportResult.SUCCESS
        for span in spans:
            if span.end_time is None:
                self._put_off(span)
            elif not self._append(span):
                result = SpanExportResult.FAILURE
        return result

    def take(self, frame: Frame) -> int | None:
        """Append a row that another program sent; its number in the spool.

        None where the spool did not take it: then the sender still has it, and nothing is lost.
        """
        sequence = self.spool.append(frame.data)
        if sequence is not None and frame.record is not None:
            self.received += 1
            self.account.accept(sequence)
            self.unsettled.add(frame.record, size=len(frame.data), sequence=sequence)
        return sequence

    @property
    def young(self) -> int:
        """How many executions began lately and run: most of them are about to end."""
        return len(self._starts)

    def starting(self, is_wanted: Callable[[ReadableSpan], bool]) -> ReadableSpan | None:
        """A running execution's span that is too young to be in the spool, or None."""
        return next((span for _, span in list(self._starts.values()) if is_wanted(span)), None)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether everything appended so far was delivered in time."""
        deadline = time.monotonic() + timeout_millis / 1000
        while self.spool.depth.frames:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def shutdown(self, *, timeout_seconds: float = 3.0) -> None:
        """Write what is appended, and close the spool; what is left in it waits for the next start."""
        self._stopping.set()
        self.spool.close(timeout_seconds=timeout_seconds, remove_if_empty=True)

    def _append(self, span: ReadableSpan) -> bool:
        if span.context is not None:
            self._starts.pop(span.context.span_id, None)
        frame = self._encode(span)
        if frame is None:
            return True
        record = frame.record
        if record is None:
            return self.spool.append(frame.data) is not None
        sequence = self._append_end(frame.data, record)
        self.unsettled.add(record, size=len(frame.data), sequence=sequence or 0)
        return sequence is not None

    def _append_start(self, span: ReadableSpan) -> None:
        """It may end right now: then whoever ends it appends that, and that alone is counted."""
        frame = self._encoder.encode(span)
        if frame is not None and frame.record is not None:
            sequence = self.spool.append(frame.data)
            self.unsettled.add(frame.record, size=len(frame.data), sequence=sequence or 0)

    def _append_end(self, data: bytes, record: ExecutionRecord) -> int | None:
        receipt = self._receipts.pop(record.id, None)
        sequence = self.spool.append(data, self.account.drop)
        if sequence is not None:
            self.account.accept(sequence)
        if receipt is not None:
            receipt.sequence = sequence
        return sequence

    def _encode(self, span: ReadableSpan) -> Frame | None:
        """An execution's end is tried twice: nobody else will tell it."""
        frame, is_end = None, EXECUTION_ID in given(span)
        try:
            frame = self._encode_end(span) if is_end else self._encoder.encode(span)
        finally:
            if frame is None and is_end:
                self.account.drop(NOT_ENCODED)
        return frame

    def _encode_end(self, span: ReadableSpan) -> Frame | None:
        try:
            return self._encoder.encode(span)
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything
            failsafe.caught("spooled.encode", error)
            return self._encoder.encode(span)

    def _put_off(self, span: ReadableSpan) -> None:
        if span.context is not None:
            self._starts[span.context.span_id] = (time.monotonic(), span)
            if not self._has_starts.is_set():
                self._has_starts.set()

    def _announce(self) -> None:
        """Spool the starts that are old enough, forget what was delivered; mostly asleep while nothing runs."""
        settle_at = 0.0
        while not self._stopping.is_set():
            self._has_starts.wait(_SETTLE_EVERY_SECONDS)
            self._stopping.wait(ANNOUNCE_AFTER_SECONDS)
            try:
                self._announce_old()
                if time.monotonic() >= settle_at:
                    settle_at = time.monotonic() + _SETTLE_EVERY_SECONDS
                    delivered = self.spool.delivered
                    self.unsettled.settle(delivered)
                    self.account.settle(delivered)
            except BaseException as error:  # noqa: BLE001 - the announcer must outlive whatever an encoder throws
                failsafe.caught("spooled.announce", error)

    def _announce_old(self) -> None:
        self._has_starts.clear()
        limit = time.monotonic() - ANNOUNCE_AFTER_SECONDS
        for span_id, (begun, span) in list(self._starts.items()):
            if begun <= limit and self._starts.pop(span_id, None) is not None:
                self._append_start(span)
        if self._starts:
            self._has_starts.set()
