"""Spans that end in a worker, as JSON for the bridge; and the provider that makes them. Needs OpenTelemetry's SDK.

Every span counts that began in the context of the running call, sampled or not. Out: an object each, of
`name kind trace_id span_id parent_span_id flags state start_time end_time status error attributes events links`,
ids in hexadecimal, times in nanoseconds since the epoch. Bounded in number and bytes per call. What ends after its call
has ended is not sent: there is nobody to take it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_value
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from bridge_app.plugins.tracing import CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

MAX_SPANS: Final = 1000
"""Of one call."""
MAX_BYTES: Final = 1 << 20
"""Of one call's spans together, as JSON."""
MAX_SPAN_BYTES: Final = 256 << 10
_MAX_TEXT: Final = 16_384


class SpanSender(SpanProcessor):
    """Sends what ends within the running call."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._number = 0
        self._open: set[int] = set()
        self._spans_left, self._bytes_left = MAX_SPANS, MAX_BYTES
        self.dropped = 0
        """How many spans of this call were too many."""

    def begin(self, number: int) -> None:
        """Another call: its spans have all the room again, and those of the one before are late."""
        self._number = number
        self._open = set()
        self._spans_left, self._bytes_left, self.dropped = MAX_SPANS, MAX_BYTES, 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note whether it belongs to the call."""
        if get_value(CALL, parent_context) == self._number:
            self._open.add(span.get_span_context().span_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Send it."""
        found = span.context
        if found is None or found.span_id not in self._open:
            return
        self._open.discard(found.span_id)
        data = json.dumps(_plain(span), default=repr).encode()
        if self._spans_left <= 0 or len(data) > min(self._bytes_left, MAX_SPAN_BYTES):
            self.dropped += 1
            return
        self._spans_left -= 1
        self._bytes_left -= len(data)
        self._send(data)


class _Always(Sampler):
    """Every span is recorded; one below an unsampled parent stays unsampled for whoever it is passed on to."""

    def should_sample(  # noqa: PLR0913, PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002 - the SDK's signature
        name: str,  # noqa: ARG002 - the SDK's signature
        kind: SpanKind | None = None,  # noqa: ARG002 - the SDK's signature
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002 - the SDK's signature
        trace_state: TraceState | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> SamplingResult:
        parent = get_current_span(parent_context).get_span_context()
        is_sampled = not parent.is_valid or parent.trace_flags.sampled
        decision = Decision.RECORD_AND_SAMPLE if is_sampled else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, parent.trace_state if parent.is_valid else None)

    def get_description(self) -> str:
        return "webhook-bridge worker"


def provider(sender: SpanSender) -> TracerProvider:
    """A provider that records every span; what the environment says of sampling and limits is not for it."""
    limits = SpanLimits(
        max_span_attributes=128, max_events=128, max_links=32, max_event_attributes=64, max_link_attributes=16,
        max_attribute_length=_MAX_TEXT, max_span_attribute_length=_MAX_TEXT,
    )  # fmt: skip
    made = TracerProvider(sampler=_Always(), span_limits=limits, shutdown_on_exit=False)
    made._disabled = False  # noqa: SLF001 - OTEL_SDK_DISABLED would hand out tracers that record nothing
    made.add_span_processor(sender)
    return made


def _plain(span: ReadableSpan) -> dict[str, Any]:
    found, parent = span.context, span.parent
    assert found is not None  # noqa: S101 - narrows a type; the one caller has looked
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": format(found.trace_id, "032x"),
        "span_id": format(found.span_id, "016x"),
        "parent_span_id": format(parent.span_id, "016x") if parent else "",
        "flags": int(found.trace_flags),
        "state": found.trace_state.to_header() if found.trace_state else "",
        "start_time": span.start_time,
        "end_time": span.end_time,
        "status": span.status.status_code.name,
        "error": span.status.description or "",
        "attributes": dict(span.attributes or {}),
        "events": [{"name": e.name, "time": e.timestamp, "attributes": dict(e.attributes or {})} for e in span.events],
        "links": [
            {
                "trace_id": format(link.context.trace_id, "032x"),
                "span_id": format(link.context.span_id, "016x"),
                "attributes": dict(link.attributes or {}),
            }
            for link in span.links
        ],
    }
