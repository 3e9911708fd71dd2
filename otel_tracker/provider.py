"""configure(): a tracer provider whose history no caller and no environment variable can switch off.

What the environment says of samplers, attribute limits and `OTEL_SDK_DISABLED` does not apply to this provider; what
it says of the resource (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) does. Every span is recorded; the caller's
sampled flag travels on, for forwarding to honour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from otel_tracker.processor import ExecutionProcessor
from otel_tracker.spans import MAX_ATTRIBUTES, MAX_EVENTS, MAX_INNER_ATTRIBUTES, MAX_LINKS, ExecutionTracer
from otel_tracker.tracking import Tracker, get_tracker, set_tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from otel_tracker.capture import CaptureSettings
    from otel_tracker.processor import ExportsSpans


def _limits() -> SpanLimits:
    """Wide limits, each given, so that none is read from the environment; values are bounded by capture instead."""
    limits = SpanLimits(
        max_attributes=MAX_ATTRIBUTES,
        max_events=MAX_EVENTS,
        max_links=MAX_LINKS,
        max_span_attributes=MAX_ATTRIBUTES,
        max_event_attributes=MAX_INNER_ATTRIBUTES,
        max_link_attributes=MAX_INNER_ATTRIBUTES,
        max_attribute_length=SpanLimits.UNSET,
        max_span_attribute_length=SpanLimits.UNSET,
    )
    limits.max_attribute_length = limits.max_span_attribute_length = None
    return limits


class RecordAllSampler(Sampler):
    """Records every span; one whose parent is unsampled stays unsampled, and is recorded all the same.

    The SDK's AlwaysRecordSampler over ParentBased does not serve: its DROP verdict loses the span's start attributes.
    """

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
        """RECORD_AND_SAMPLE, or RECORD_ONLY below an unsampled parent; attributes and trace state as they came."""
        parent = get_current_span(parent_context).get_span_context()
        sampled = not parent.is_valid or parent.trace_flags.sampled
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.RECORD_ONLY
        return SamplingResult(decision, attributes, parent.trace_state if parent.is_valid else None)

    def get_description(self) -> str:
        """The name that tracing tools show."""
        return "RecordAllSampler"


class ExecutionTracerProvider(TracerProvider):
    """A TracerProvider that records every span, whatever the caller or the environment says."""

    def __init__(self, *, service_name: str | None = None, shutdown_on_exit: bool = True) -> None:
        super().__init__(
            sampler=RecordAllSampler(),
            resource=Resource.create({"service.name": service_name} if service_name else {}),
            id_generator=RandomIdGenerator(),
            span_limits=_limits(),
            shutdown_on_exit=shutdown_on_exit,
        )
        self._disabled = False  # OTEL_SDK_DISABLED would hand out tracers that record nothing

    def execution_tracer(self) -> ExecutionTracer:
        """The tracer to give a Tracker: its spans are this provider's, and cost a third of the SDK's own."""
        tracer = self.get_tracer("otel_tracker")
        assert isinstance(tracer, Tracer)  # noqa: S101 - narrows a type; an enabled provider hands out nothing else
        return ExecutionTracer(tracer)


class Configured:
    """What `configure` set up."""

    def __init__(self, provider: ExecutionTracerProvider, processor: ExecutionProcessor, tracker: Tracker) -> None:
        self.provider = provider
        self.processor = processor
        self.tracker = tracker

    def shutdown(self) -> None:
        """Flush, and stop tracking; what a later `configure` set up goes on."""
        if get_tracker() is self.tracker:
            set_tracker(None)
        self.provider.shutdown()


def configure(
    exporter: ExportsSpans,
    *,
    service_name: str | None = None,
    settings: CaptureSettings | None = None,
    instance_id: str = "",
    announces_start: bool = True,
    shutdown_on_exit: bool = True,
) -> Configured:
    """Send every tracked execution of this process to `exporter`.

    It does not replace OpenTelemetry's global provider: the spans of other libraries stay where they were.

    Example:
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> from otel_tracker import configure, track
        >>> exporter = InMemorySpanExporter()
        >>> configured = configure(exporter, announces_start=False)
        >>> with track("nightly import", input={"rows": 3}) as execution:
        ...     execution.set_output({"imported": 3})
        >>> exporter.get_finished_spans()[0].name
        'execute nightly import'
        >>> configured.shutdown()
    """
    provider = ExecutionTracerProvider(service_name=service_name, shutdown_on_exit=shutdown_on_exit)
    processor = ExecutionProcessor(exporter, announces_start=announces_start)
    provider.add_span_processor(processor)
    tracker = Tracker(provider.execution_tracer(), settings=settings, instance_id=instance_id)
    set_tracker(tracker)
    return Configured(provider, processor, tracker)
