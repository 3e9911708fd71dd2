"""SpooledSpanExporter: append now, deliver in a thread. It joins a durable spool to a destination that may be away.

In: spans. Out: bytes in the spool at once, the destination's own delivery later, in order, until it succeeds. It never
blocks or raises into the caller of `export`.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from opentelemetry.sdk.trace.export import SpanExportResult

from exporters.backoff import delay_seconds
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from exporters.absent_spool import AbsentSpool
    from exporters.spool import Spool

logger = logging.getLogger("exporters.spooled")
_BATCH_FRAMES: Final = 512
_BATCH_BYTES: Final = 4 << 20
_GATHER_SECONDS: Final = 0.1
"""How long the drain lets frames gather: a start and its end then cost one row."""
ANNOUNCE_AFTER_SECONDS: Final = 0.02
"""How old an execution must be for its start to be kept: most end before, and then their end says it all."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A span as a destination wants it kept."""

    key: str
    """The execution's id; empty for a child span."""
    data: bytes
    is_final: bool


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of frames: the rest of them are delivered."""

    rejected: tuple[tuple[int, str], ...] = ()
    """Index, and why the destination will never take it."""


class Destination(Protocol):
    """Where spans go. `deliver` raises to have the same frames again later."""

    name: str

    def encode(self, span: ReadableSpan) -> Frame | None:
        """The span as bytes; None where this destination does not want it. Pure and quick."""
        ...

    def deliver(self, frames: Sequence[bytes]) -> Delivered:
        """Hand the frames over, in order; repeats of earlier frames must do no harm."""
        ...


class Receipt:
    """What happened to the final frame of one execution: its sequence number in the spool, or None."""

    __slots__ = ("sequence",)

    def __init__(self) -> None:
        self.sequence: int | None = None


class SpooledSpanExporter:
    """An exporter for ExecutionProcessor: durable within a group commit, delivered within about a tenth of a second."""

    def __init__(self, destination: Destination, spool: Spool | AbsentSpool) -> None:
        self.destination = destination
        self.spool = spool
        self.delivered = 0
        self.rejected = 0
        self.last_error = ""
        self._receipts: dict[str, Receipt] = {}
        self._starts: dict[int, tuple[float, ReadableSpan]] = {}
        self._has_starts = threading.Event()
        self._stopping = threading.Event()
        self._drained = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"drain-{destination.name}", daemon=True)
        self._announcer = threading.Thread(target=self._announce, name=f"start-{destination.name}", daemon=True)

    def start(self) -> None:
        """Start draining, and announcing what still runs."""
        self._thread.start()
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

    def starting(self, is_wanted: Callable[[ReadableSpan], bool]) -> ReadableSpan | None:
        """A running execution's span that is too young to be in the spool, or None."""
        return next((span for _, span in list(self._starts.values()) if is_wanted(span)), None)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether everything appended so far was delivered in time."""
        deadline = time.monotonic() + timeout_millis / 1000
        self._wake.set()
        while time.monotonic() < deadline:
            if self.spool.depth.frames == 0:
                return True
            self._drained.wait(0.01)
        return self.spool.depth.frames == 0

    def shutdown(self, *, timeout_seconds: float = 3.0) -> None:
        """Drain for so long, then stop; what is left stays in the spool for the next start. Again: does nothing."""
        if self._thread.is_alive() and not self._stopping.is_set():
            self.force_flush(int(timeout_seconds * 1000))
            self._stopping.set()
            self._wake.set()
            self.spool.wake()
            self._thread.join(0.5)  # a delivery under way may be stuck; cut short, it is repeated at the next start
        self.spool.close(timeout_seconds=timeout_seconds)

    def _append(self, span: ReadableSpan) -> bool:
        if self._starts and span.context is not None:
            self._starts.pop(span.context.span_id, None)
        frame = self.destination.encode(span)
        if frame is None:
            return True
        sequence = self.spool.append(frame.data)
        if frame.is_final:
            receipt = self._receipts.pop(frame.key, None)
            if receipt is not None:
                receipt.sequence = sequence
        return sequence is not None

    def _put_off(self, span: ReadableSpan) -> None:
        if span.context is not None:
            self._starts[span.context.span_id] = (time.monotonic(), span)
            if not self._has_starts.is_set():
                self._has_starts.set()

    def _announce(self) -> None:
        """Spool the starts that are old enough; asleep while nothing runs."""
        while not self._stopping.is_set():
            self._has_starts.wait(0.5)
            self._stopping.wait(ANNOUNCE_AFTER_SECONDS)
            try:
                self._announce_old()
            except BaseException as error:  # noqa: BLE001 - the announcer must outlive whatever an encoder throws
                failsafe.caught("spooled.announce", error)

    def _announce_old(self) -> None:
        self._has_starts.clear()
        limit = time.monotonic() - ANNOUNCE_AFTER_SECONDS
        for span_id, (begun, span) in list(self._starts.items()):
            if begun <= limit and self._starts.pop(span_id, None) is not None:
                self._append(span)
        if self._starts:
            self._has_starts.set()

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                self.spool.wait_for_frames(0.5)
                self._wake.wait(_GATHER_SECONDS)
                self._wake.clear()
                self.drain_once()
                attempt = 0
            except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
                attempt += 1
                self._note(error, attempt)
                self._stopping.wait(delay_seconds(attempt, base=0.1, cap=2.0, jitter=0.5))

    def drain_once(self) -> int:
        """Deliver what the spool holds now; says how many frames. Raises what the destination raises."""
        total = 0
        while frames := self._drain_batch():
            total += frames
            if self._stopping.is_set():
                break
        return total

    def _drain_batch(self) -> int:
        batch = self.spool.read(max_frames=_BATCH_FRAMES, max_bytes=_BATCH_BYTES)
        if not batch.frames:
            return 0
        outcome = self.destination.deliver(batch.frames)
        for index, reason in outcome.rejected:
            self.rejected += 1
            self.spool.bury(batch.frames[index], reason=reason)
        self.spool.commit(batch.end)
        self.delivered += len(batch.frames)
        self.last_error = ""
        self._drained.set()
        self._drained.clear()
        return len(batch.frames)

    def _note(self, error: BaseException, attempt: int) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        if attempt == 1:
            logger.warning("%s is away, the spool keeps its records: %s", self.destination.name, self.last_error)
        failsafe.failures["drain"] += 1
