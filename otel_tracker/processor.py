"""ExecutionProcessor: hands execution spans to an exporter at their start and at their end, sampled or not.

The SDK's own processors drop unsampled spans, see a span only once it ended, and let an exporter's exception reach the
tracked code. This one does none of that. It also marks what opens under an execution as belonging to it, bounded per
execution, so that a record has its children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_tracker.conventions import EXECUTION_ID, PARENT_EXECUTION_ID
from otel_tracker.failsafe import failsafe
from otel_tracker.spans import given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExportResult

MAX_CHILDREN: Final = 1000
"""Child spans kept per execution; what is beyond is counted in `ExecutionProcessor.dropped_children`."""


class ExportsSpans(Protocol):
    """What the processor needs of an exporter: OpenTelemetry's SpanExporter has it."""

    def export(self, spans: Sequence[ReadableSpan], /) -> SpanExportResult:
        """Take the spans; an execution whose `end_time` is None is running."""
        ...

    def shutdown(self) -> None:
        """Flush and release."""
        ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether everything taken so far is safe."""
        ...


class ExecutionProcessor(SpanProcessor):
    """Feeds one exporter. `announces_start=False` for exporters that must not see unfinished spans."""

    def __init__(self, exporter: ExportsSpans, *, announces_start: bool = True) -> None:
        self.exporter = exporter
        self.started = 0
        self.ended = 0
        self.dropped_children = 0
        self._announces_start = announces_start
        self._execution_of: dict[int, str] = {}
        self._children: dict[str, int] = {}

    @property
    def running(self) -> int:
        """Executions that started here and did not end yet."""
        return len(self._children)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the signature is the caller's
        """See a span open."""
        try:
            self._on_start(span)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("processor.on_start", error)

    def on_end(self, span: ReadableSpan) -> None:
        """See a span end."""
        try:
            self._on_end(span)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("processor.on_end", error)

    def shutdown(self) -> None:
        """Flush and release the exporter."""
        try:
            self.exporter.shutdown()
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("processor.shutdown", error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether everything that ended so far is safe."""
        try:
            return self.exporter.force_flush(timeout_millis)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("processor.force_flush", error)
            return False

    def _on_start(self, span: Span) -> None:
        context = span.get_span_context()
        execution_id = given(span).get(EXECUTION_ID)
        if isinstance(execution_id, str):
            self.started += 1
            self._execution_of[context.span_id] = execution_id
            self._children[execution_id] = 0
            if self._announces_start:
                self.exporter.export((span,))
            return
        parent_id = self._execution_of.get(span.parent.span_id) if span.parent else None
        if parent_id is not None:
            self._adopt(span, context.span_id, parent_id)

    def _adopt(self, span: Span, span_id: int, execution_id: str) -> None:
        count = self._children.get(execution_id, MAX_CHILDREN)  # it ended: what a late child opens is unbounded
        if count >= MAX_CHILDREN:
            self.dropped_children += 1
            return
        self._children[execution_id] = count + 1
        self._execution_of[span_id] = execution_id
        span.set_attribute(PARENT_EXECUTION_ID, execution_id)

    def _on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None:
            return
        execution_id = self._execution_of.pop(context.span_id, None)
        if execution_id is None:
            return
        if EXECUTION_ID in given(span):
            self.ended += 1
            self._children.pop(execution_id, None)
        self.exporter.export((span,))
