"""ExecutionTracer and ExecutionSpan: OpenTelemetry spans that cost an execution a third of what the SDK's own cost.

The SDK's tracer checks every attribute twice, keeps them under two locks, and copies the span at its end, which was
more than half of all tracking on the path of a webhook. An execution sets plain values that are bounded and safe
already, so here a span is one dict. It is made of public classes (the SDK's `ReadableSpan`, the API's `Span`), and any
processor and exporter takes it. What code opens below an execution are spans of the SDK's tracer, as ever.
"""

from __future__ import annotations

import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span

from otel_tracker.classification import format_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, Tracer
    from opentelemetry.util.types import AnyValue, Attributes

MAX_ATTRIBUTES: Final = 4096
"""Of one span, and of each of its events and links; what is beyond is dropped and counted."""
MAX_EVENTS: Final = 1024
"""Of one span, and as many links; what is beyond is dropped and counted."""
_PLAIN: Final = frozenset({str, int, bool, float})
_ROOT_FLAGS: Final = TraceFlags(0x03)  # sampled, and a random trace id, as W3C Trace Context 2 has it


class ExecutionSpan(ReadableSpan, trace.Span):
    """One execution's span: live until `end`; what comes after the end is ignored."""

    def __init__(  # noqa: PLR0913 - each is a separate fact, named at the call
        self,
        name: str,
        *,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        start_time: int,
        resource: Resource,
        scope: InstrumentationScope,
        processor: SpanProcessor,
    ) -> None:
        self._values: dict[str, Any] = {}
        self._event_list: list[Event] = []
        self._link_list: list[Link] = []
        super().__init__(
            name,
            context=context,
            parent=parent,
            resource=resource,
            attributes=self._values,
            events=self._event_list,
            links=self._link_list,
            kind=kind,
            start_time=start_time,
            instrumentation_scope=scope,
        )
        self._dropped = [0, 0, 0]
        self._processor = processor
        self._ending = threading.Lock()
        self._late: Callable[[], Mapping[str, AnyValue]] | None = None
        if attributes:
            self.set_attributes(attributes)

    def get_span_context(self) -> SpanContext:
        """Its trace id and span id."""
        assert self._context is not None  # noqa: S101 - narrows a type; `__init__` takes nothing else
        return self._context

    def is_recording(self) -> bool:
        """Whether it goes on."""
        return self._end_time is None

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several; values that OpenTelemetry knows no type for become their text."""
        if self._end_time is not None:
            return
        values = self._values
        for key, value in attributes.items():
            if type(value) in _PLAIN and type(key) is str and (len(values) < MAX_ATTRIBUTES or key in values):
                values[key] = value
            else:
                self._set_odd(key, value)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set one."""
        self.set_attributes({key: value})

    def _set_odd(self, key: str, value: AnyValue) -> None:
        clean = BoundedAttributes(1, {key: value})
        for name in clean:
            if len(self._values) < MAX_ATTRIBUTES or name in self._values:
                self._values[name] = clean[name]
                return
        self._dropped[0] += 1

    def set_late(self, make: Callable[[], Mapping[str, AnyValue]]) -> None:
        """Have attributes made when they are first wanted: at the latest at the end, in the thread that ends it."""
        self._late = make

    def settle(self) -> dict[str, Any]:
        """All attributes, the late ones made. Two threads may make them at once; both get the same."""
        if (make := self._late) is not None:
            for key, value in make().items():
                self._values[key] = value
            self._late = None
        return self._values

    @property
    def attributes(self) -> Attributes:
        """All attributes, read-only."""
        return MappingProxyType(self.settle())

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event; `timestamp` in nanoseconds since the epoch, else now."""
        if self._end_time is None:
            if len(self._event_list) < MAX_EVENTS:
                self._event_list.append(Event(name, BoundedAttributes(MAX_ATTRIBUTES, attributes), timestamp))
            else:
                self._dropped[1] += 1

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link it to another span."""
        if self._end_time is None and context.is_valid:
            if len(self._link_list) < MAX_EVENTS:
                self._link_list.append(Link(context, BoundedAttributes(MAX_ATTRIBUTES, attributes)))
            else:
                self._dropped[2] += 1

    def update_name(self, name: str) -> None:
        """Give it another name."""
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set its status; after OK no other counts, as OpenTelemetry has it."""
        wanted = status if isinstance(status, Status) else Status(status, description)
        if self._end_time is None and self._status.status_code is not StatusCode.OK and not wanted.is_unset:
            self._status = wanted

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002, FBT001, FBT002 - the API's signature; the attribute is deprecated
    ) -> None:
        """Add the exception as an event of OpenTelemetry's semantic conventions."""
        kind = type(exception)
        message, stacktrace = format_error(exception)
        facts: dict[str, AnyValue] = {
            EXCEPTION_TYPE: f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            EXCEPTION_MESSAGE: message,
            EXCEPTION_STACKTRACE: stacktrace,
        }
        self.add_event("exception", {**facts, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End it, at `end_time` (nanoseconds since the epoch) or now, and hand it on. The first call counts."""
        with self._ending:
            if self._end_time is not None:
                return
            self._end_time = time.time_ns() if end_time is None else end_time
        self._processor.on_end(self)

    @property
    def dropped_attributes(self) -> int:
        """How many attributes found no room, or had no name."""
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        """How many events found no room."""
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        """How many links found no room."""
        return self._dropped[2]


def given(span: ReadableSpan) -> Mapping[str, Any]:
    """What was set on a span so far: without copying it, and without making what is to be made late."""
    attributes: Any = span._attributes  # noqa: SLF001 - the public property costs a copy
    inner = getattr(attributes, "_dict", attributes)
    return inner if isinstance(inner, dict) else dict(span.attributes or {})


class ExecutionTracer:
    """Opens execution spans with the resource, the ids and the processors of an SDK tracer. Every one is recorded."""

    def __init__(self, tracer: Tracer) -> None:
        self._scope = InstrumentationScope("otel_tracker")
        self._resource = tracer.resource
        self._processor = tracer.span_processor
        self._ids = tracer.id_generator

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *,
        start_time: int,
    ) -> ExecutionSpan:
        """Open a span below the current one of `context`; the caller's sampled flag and trace state travel on."""
        above = get_current_span(context).get_span_context()
        parent = above if above.is_valid else None
        span = ExecutionSpan(
            name,
            context=SpanContext(
                parent.trace_id if parent else self._ids.generate_trace_id(),
                self._ids.generate_span_id(),
                is_remote=False,
                trace_flags=parent.trace_flags if parent else _ROOT_FLAGS,
                trace_state=parent.trace_state if parent else None,
            ),
            parent=parent,
            kind=kind,
            attributes=attributes,
            start_time=start_time,
            resource=self._resource,
            scope=self._scope,
            processor=self._processor,
        )
        self._processor.on_start(span, parent_context=context)  # type: ignore[arg-type]  # it has all that the SDK's has
        return span
