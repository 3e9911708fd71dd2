"""Spans of both kinds on one provider: ours and the SDK's, so that a test can give both the same calls."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan

from otel_tracker.provider import ExecutionTracerProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    from otel_tracker.spans import ExecutionSpan


class Kept(SpanProcessor):
    """What started and what ended."""

    def __init__(self) -> None:
        self.started: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the signature is the SDK's
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Traced:
    """A provider, and both kinds of spans on it."""

    def __init__(self, ids: RandomIdGenerator | None = None) -> None:
        self.kept = Kept()
        self.provider = ExecutionTracerProvider(shutdown_on_exit=False)
        self.provider.id_generator = ids or self.provider.id_generator
        self.provider.add_span_processor(self.kept)
        self.tracer = self.provider.execution_tracer()

    def ours(self, context: Context | None = None, **options: Any) -> ExecutionSpan:
        return self.tracer.start_span("a", context or Context(), start_time=1000, **options)

    def theirs(self, context: Context | None = None, **options: Any) -> SdkSpan:
        tracer = self.provider.get_tracer("otel_tracker")
        return cast("SdkSpan", tracer.start_span("a", context or Context(), start_time=1000, **options))

    def both(self, **options: Any) -> tuple[ExecutionSpan, SdkSpan]:
        return self.ours(**options), self.theirs(**options)


def facts(span: ReadableSpan) -> dict[str, Any]:
    """All that a span says of itself but for its ids."""
    return {
        "name": span.name,
        "kind": span.kind,
        "parent": span.parent,
        "times": (span.start_time, span.end_time),
        "attributes": dict(span.attributes or {}),
        "events": [(each.name, each.timestamp, dict(each.attributes or {})) for each in span.events],
        "links": [(each.context, dict(each.attributes or {})) for each in span.links],
        "status": (span.status.status_code, span.status.description),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "dropped inside": [each.dropped_attributes for each in span.events]
        + [each.dropped_attributes for each in span.links],
        "resource": span.resource,
        "scope": span.instrumentation_scope,
    }


def at_once(count: int, act: Callable[[int], object]) -> None:
    """Let so many threads act at the same time."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        act(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
