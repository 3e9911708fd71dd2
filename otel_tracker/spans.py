"""ExecutionTracer and ExecutionSpan: OpenTelemetry spans that cost an execution a third of what the SDK's own cost.

The SDK's tracer checks every attribute twice, keeps them under two locks, and copies the span at its end, which was
more than half of all tracking on the path of a webhook. An execution sets plain values that are bounded and safe
already, so here a span is one dict. It is made of public classes (the SDK's `ReadableSpan`, the API's `Span`), and any
processor and exporter takes it. What code opens below an execution are spans of the SDK's tracer, as ever.

It does what OpenTelemetry specifies and the SDK's own span does, but for this: beyond a limit the newest is dropped,
not the oldest, which is the execution's id; `record_exception` bounds its texts; calls after the end are not logged.
"""

from __future__ import annotations

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

from otel_tracker.classification import error_text, format_error
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, Tracer
    from opentelemetry.util.types import AnyValue, Attributes

MAX_ATTRIBUTES: Final = 4096
"""Of one span; what is beyond is dropped and counted, here and below."""
MAX_EVENTS: Final = 1024
MAX_LINKS: Final = 128
MAX_INNER_ATTRIBUTES: Final = 128
"""Of one event, and of one link."""
_PLAIN: Final = frozenset({str, int, bool, float})
_SAMPLED: Final = 0x01
_RANDOM: Final = 0x02
_KNOWN_FLAGS: Final = _SAMPLED | _RANDOM  # W3C Trace Context 2 has all others passed on as zero


class ExecutionSpan(ReadableSpan, trace.Span):
    """One execution's span: live until `end`; what comes after the end is ignored."""

    dropped_attributes = 0
    """How many attributes found no room, or had no name."""
    dropped_events = 0
    """How many events found no room."""
    dropped_links = 0
    """How many links found no room."""

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
        late: Callable[[], Mapping[str, AnyValue]] | None = None,
    ) -> None:
        """Open it. `late` makes further attributes when they are first wanted, see `settle`."""
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
        self._processor = processor
        self._late = late
        self._ends_left = [True]
        if attributes:
            self._put(self._values, attributes)

    def get_span_context(self) -> SpanContext:
        """Its trace id and span id."""
        assert self._context is not None  # noqa: S101 - narrows a type; `__init__` takes nothing else
        return self._context

    def is_recording(self) -> bool:
        """Whether it goes on."""
        return self._end_time is None

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several; values that OpenTelemetry knows no type for become their text."""
        values = self._values  # before the look at the end: what comes too late goes where nobody looks
        if self._end_time is None:
            self._put(values, attributes)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set one."""
        self.set_attributes({key: value})

    def _put(self, values: dict[str, Any], attributes: Mapping[str, AnyValue]) -> None:
        for key, value in attributes.items():
            if type(value) in _PLAIN and type(key) is str and key and (len(values) < MAX_ATTRIBUTES or key in values):
                values[key] = value
            else:
                self._put_odd(values, key, value)

    def _put_odd(self, values: dict[str, Any], key: str, value: AnyValue) -> None:
        clean = BoundedAttributes(1, {key: value})
        for name in clean:
            if len(values) < MAX_ATTRIBUTES or name in values:
                values[name] = clean[name]
                return
        self.dropped_attributes += 1

    def settle(self) -> Mapping[str, Any]:
        """All attributes, the late ones made: at the latest at the end, in the thread that ends it.

        Two threads may make them at once, and `make` must give both the same. What it raises is counted by
        `failsafe`; the span then goes without.
        """
        if (make := self._late) is not None:
            values = self._values
            try:
                self._put(values, make())
            except BaseException as error:  # noqa: BLE001 - a span without them is better than none
                failsafe.caught("span.late", error)
            self._late = None
        return self._values

    @property
    def attributes(self) -> Attributes:
        """All attributes, read-only."""
        return MappingProxyType(self.settle())

    def to_json(self, indent: int | None = 4) -> str:
        """What a console exporter prints."""
        self.settle()
        return str(super().to_json(indent))

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event; `timestamp` in nanoseconds since the epoch, else now."""
        if self._end_time is None:
            if len(self._event_list) < MAX_EVENTS:
                self._event_list.append(Event(name, BoundedAttributes(MAX_INNER_ATTRIBUTES, attributes), timestamp))
            else:
                self.dropped_events += 1

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link it to another span; a link that says nothing at all is ignored."""
        if self._end_time is None and (context.is_valid or attributes or context.trace_state):
            if len(self._link_list) < MAX_LINKS:
                self._link_list.append(Link(context, BoundedAttributes(MAX_INNER_ATTRIBUTES, attributes)))
            else:
                self.dropped_links += 1

    def update_name(self, name: str) -> None:
        """Give it another name."""
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set its status; after OK no other counts, as OpenTelemetry has it."""
        wanted = Status(status, description) if isinstance(status, StatusCode) else status
        code = getattr(wanted, "status_code", StatusCode.UNSET)  # what is no status counts as none
        if self._end_time is None and self._status.status_code is not StatusCode.OK and code is not StatusCode.UNSET:
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
        facts: dict[str, AnyValue] = {
            EXCEPTION_TYPE: f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            EXCEPTION_MESSAGE: error_text(exception),
            EXCEPTION_STACKTRACE: format_error(exception)[1],
        }
        self.add_event("exception", {**facts, **(attributes or {})}, timestamp)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.is_recording():
            self.record_exception(error)
            self.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error_text(error)}")
        self.end()

    def end(self, end_time: int | None = None) -> None:
        """End it, at `end_time` (nanoseconds since the epoch) or now, and hand it on. The first call counts."""
        end_time = time.time_ns() if end_time is None else end_time
        self.settle()
        try:
            self._ends_left.pop()  # of several threads one gets it: cheaper than a lock
        except IndexError:
            return
        self._end_time = end_time
        self._values = self._attributes = self._values.copy()
        self._processor.on_end(self)


def given(span: ReadableSpan) -> Mapping[str, Any]:
    """What was set on a span so far: without copying it, and without making what is to be made late."""
    attributes: Any = span._attributes  # noqa: SLF001 - the public property costs a copy
    if type(attributes) is dict:
        return attributes
    inner = getattr(attributes, "_dict", None)
    return inner if isinstance(inner, dict) else dict(span.attributes or {})


class ExecutionTracer:
    """Opens execution spans with the resource, the ids and the processors of an SDK tracer. Every one is recorded."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._scope = InstrumentationScope("otel_tracker", "")
        self._processor = tracer.span_processor
        self._ids = tracer.id_generator
        is_random = getattr(self._ids, "is_trace_id_random", None)  # SDKs before 1.42 do not tell, and set no such flag
        self._root_flags = TraceFlags(_SAMPLED | _RANDOM if is_random and is_random() else _SAMPLED)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *,
        start_time: int,
        late: Callable[[], Mapping[str, AnyValue]] | None = None,
    ) -> ExecutionSpan:
        """Open a span below the current one of `context`; the caller's sampled flag and trace state travel on.

        `late` makes further attributes when they are first wanted.
        """
        parent: SpanContext | None = get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, flags, state = parent.trace_id, parent.trace_flags, parent.trace_state
            if flags > _KNOWN_FLAGS:
                flags = TraceFlags(flags & _KNOWN_FLAGS)
        else:
            parent = state = None
            trace_id, flags = self._ids.generate_trace_id(), self._root_flags
        span = ExecutionSpan(
            name,
            context=SpanContext(
                trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=flags, trace_state=state
            ),
            parent=parent,
            kind=kind,
            attributes=attributes,
            start_time=start_time,
            resource=self._tracer.resource,  # read each time: after a fork it is another
            scope=self._scope,
            processor=self._processor,
            late=late,
        )
        self._processor.on_start(span, parent_context=context)  # type: ignore[arg-type]  # it has all that the SDK's has
        return span
