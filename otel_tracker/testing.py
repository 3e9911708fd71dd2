"""record_executions(): the executions of a block of code as records in memory, for tests of tracked code.

In: nothing but the code inside the block. Out: `ExecutionRecord`s and `SpanRecord`s as a store would get them. Ids are
counted, and the clock goes a second each time it is read, so that whole records can be compared with literals; only
what comes from elsewhere (a traceback's paths, the times inside `SpanRecord.events`) is not.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Final

import msgspec
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.failsafe import failsafe
from otel_tracker.processor import ExecutionProcessor
from otel_tracker.provider import ExecutionTracerProvider
from otel_tracker.tracking import Tracker, set_tracker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otel_tracker.capture import CaptureSettings
    from otel_tracker.record import ExecutionRecord, SpanRecord

BEGIN: Final = 1_735_689_600_000_000_000
"""2025-01-01T00:00:00Z: what the clock shows before it is first read, in nanoseconds."""
SECOND: Final = 1_000_000_000


class Recorded:
    """What was tracked so far; it goes on filling while the block runs."""

    def __init__(self) -> None:
        self.executions: list[ExecutionRecord] = []
        """Those that ended, in the order of their ends."""
        self.spans: list[SpanRecord] = []
        """Ended child spans: what the code opened inside an execution with a tracer of `provider`."""
        self.provider = ExecutionTracerProvider(shutdown_on_exit=False)
        self.provider.id_generator = _CountedIds()
        self.clock = SteppedClock()
        self._running: dict[str, ExecutionRecord] = {}
        self._child_starts: dict[int, int] = {}
        self._failures_before = failsafe.failures.copy()

    @property
    def one(self) -> ExecutionRecord:
        """The only execution that ended; AssertionError where there is none, or there are more."""
        if len(self.executions) != 1:
            ended = [record.plugin_name for record in self.executions]
            raise AssertionError(f"expected one execution, got {len(ended)}: {ended}")
        return self.executions[0]

    @property
    def running(self) -> list[ExecutionRecord]:
        """Those that started and did not end, in the order of their starts."""
        return list(self._running.values())

    @property
    def failures(self) -> Counter[str]:
        """What failed inside the tracker itself since the block began, by place; empty in a good test."""
        return failsafe.failures - self._failures_before

    def started(self, span: Span) -> None:
        """Stamp the start of a child span; called by the processor."""
        if EXECUTION_ID not in (span.attributes or {}):
            self._child_starts[span.get_span_context().span_id] = self.clock.read()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take what started or ended; called by the processor."""
        for span in spans:
            record, child = record_from_span(span), child_from_span(span)
            if record is not None and not record.status.is_final:
                self._running[record.id] = record
            elif record is not None:
                self._running.pop(record.id, None)
                self.executions.append(record)
            elif child is not None:
                start, end = self._child_starts.pop(int(child.span_id, 16)), self.clock.read()
                self.spans.append(msgspec.structs.replace(child, start_time=start, end_time=end))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is held back."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the signature is the caller's
        """Everything is here already."""
        return True


class SteppedClock:
    """Goes one second each time it is read."""

    def __init__(self) -> None:
        self._steps = itertools.count(BEGIN + SECOND, SECOND)

    def read(self) -> int:
        """Nanoseconds since the epoch."""
        return next(self._steps)


@contextlib.contextmanager
def record_executions(*, settings: CaptureSettings | None = None) -> Iterator[Recorded]:
    """Track into memory instead of wherever `configure` said, until the block ends.

    It replaces the tracker of the whole process, so it is for one test at a time.

    Example:
        >>> from otel_tracker import track
        >>> from otel_tracker.testing import record_executions
        >>> @track
        ... def add(a, b):
        ...     return a + b
        >>> with record_executions() as recorded:
        ...     three = add(1, b=2)
        >>> recorded.one.input, recorded.one.output, recorded.one.status.value
        ('{"a":1,"b":2}', '3', 'completed')
        >>> recorded.one.id, recorded.one.duration
        ('00000000-0000-7000-8000-000000000001', 1000000000)
    """
    recorded = Recorded()
    recorded.provider.add_span_processor(_StampingProcessor(recorded))
    tracker = Tracker(recorded.provider.execution_tracer(), settings=settings, instance_id="test")
    tracker.new_id = map("00000000-0000-7000-8000-{:012x}".format, itertools.count(1)).__next__
    tracker.clock_ns = tracker.timer_ns = recorded.clock.read
    before = set_tracker(tracker)
    try:
        yield recorded
    finally:
        set_tracker(before)


class _StampingProcessor(ExecutionProcessor):
    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self._recorded = recorded

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._recorded.started(span)
        super().on_start(span, parent_context)


class _CountedIds(RandomIdGenerator):
    """Traces and spans numbered from one."""

    def __init__(self) -> None:
        self._traces, self._spans = itertools.count(1), itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._traces)

    def generate_span_id(self) -> int:
        return next(self._spans)
