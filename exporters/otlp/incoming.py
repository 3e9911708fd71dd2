"""OTLP spans of other programs as rows of the history: the way back of `messages`. Pure.

In: a `Span` message and the attributes of its resource. Out: its row. An execution becomes a span of the SDK on the
way, so that records come to be by one conversion only; what we read of its attributes is brought to its type, its
bounds and through the same redaction as our own. A span that cannot be kept raises `UnusableSpanError`.

A span is an execution where it has `otel_tracker.execution.id`, or only `otel_tracker.plugin.name`: then its id is made
of its start and of its own ids, so that a batch that is sent twice is one execution.
"""

from __future__ import annotations

import uuid
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from exporters.otlp.given import Given
from exporters.otlp.values import values_of
from otel_tracker import conventions as names
from otel_tracker import span_facts
from otel_tracker.conversion import child_attributes, child_events, record_from_span
from otel_tracker.record import ExecutionRecord, SpanRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from exporters.otlp.given import Rules
    from otel_tracker.record import Row

_MAX_TIME: Final = 2**63 - 1
_ZEROS: Final = frozenset({bytes(8), bytes(16)})
_MAX_EVENTS, _MAX_LINKS = 1024, 128
_KINDS: Final = (
    SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER,
)  # fmt: skip
_KIND_NAMES: Final = tuple(kind.name.lower() for kind in _KINDS)
_CODES: Final = (StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR)
_CODE_NAMES: Final = ("unset", "ok", "error")
_ERROR: Final = 2
MAX_NAME: Final = 2048
"""Characters of a name, and of a child's status message."""
_SAMPLED: Final = 1
_NO_RESOURCE: Final = Resource({})  # without one the SDK makes its own, for 600 µs a span
_EXCEPTION: Final = frozenset({EXCEPTION_TYPE, EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE})


class UnusableSpanError(ValueError):
    """The span cannot be kept; the text says why."""


class Sent:
    """A span that came, as the row that it becomes."""

    __slots__ = ("_row", "execution_id", "parent_id", "parent_span_id", "span_id", "trace_id")

    def __init__(self, row: Row) -> None:
        self._row = row
        self.trace_id, self.span_id, self.parent_span_id = row.trace_id, row.span_id, row.parent_span_id
        self.execution_id: str = row.id if isinstance(row, ExecutionRecord) else ""
        """The execution that it is; empty where it is none."""
        self.parent_id: str = "" if isinstance(row, ExecutionRecord) else row.execution_id
        """The execution that it says it belongs to, or was found to; empty where none is known."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        row = self._row
        return 500 if isinstance(row, ExecutionRecord) else 500 + len(row.attributes) + len(row.events) + len(row.span)

    def join(self, execution_id: str) -> None:
        """Make it a child of that execution."""
        self.parent_id = execution_id

    @property
    def row(self) -> Row:
        """What the history keeps."""
        row = self._row
        if isinstance(row, ExecutionRecord) or row.execution_id == self.parent_id:
            return row
        return replace(row, execution_id=self.parent_id)


def messages_of(request: ExportTraceServiceRequest) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Each span of the request with the attributes of its resource that are kept of it."""
    for of_resource in request.resource_spans:
        resource = values_of(of_resource.resource.attributes)
        kept = {name: str(resource[name]) for name in (SERVICE_NAME, SERVICE_INSTANCE_ID) if resource.get(name)}
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield span, kept


def read(message: Span, resource: Mapping[str, str], rules: Rules) -> Sent:
    """The span as a row, a child's execution still open. Raises `UnusableSpanError`."""
    _check_id(message.trace_id, 16, "trace_id")
    _check_id(message.span_id, 8, "span_id")
    if message.parent_span_id:
        _check_id(message.parent_span_id, 8, "parent_span_id")
    start, end = message.start_time_unix_nano, message.end_time_unix_nano
    if not 0 < start <= _MAX_TIME or end > _MAX_TIME:
        raise UnusableSpanError("its start or end is no time: nanoseconds since 1970 are expected")
    end = max(start, end)
    attributes = values_of(message.attributes)
    execution_id = _id_of_execution(attributes, message)
    if service := resource.get(SERVICE_NAME):
        attributes.setdefault(SERVICE_NAME, service)
    if not execution_id:
        return Sent(_child(message, attributes, end))
    attributes[names.EXECUTION_ID] = execution_id
    attributes.setdefault(names.INSTANCE_ID, resource.get(SERVICE_INSTANCE_ID, ""))
    record = record_from_span(_span(message, attributes, end, rules))
    if record is None:
        raise UnusableSpanError("no record could be made of it")
    return Sent(record)


def _child(message: Span, attributes: dict[str, Any], end: int) -> SpanRecord:
    parent_id = attributes.pop(names.PARENT_EXECUTION_ID, "")
    status, flags = message.status, message.flags
    code = status.code if status.code < len(_CODES) else 0
    events = [
        {"name": event.name, "time": min(event.time_unix_nano, _MAX_TIME), "attributes": values_of(event.attributes)}
        for event in (message.events[:_MAX_EVENTS] if message.events else ())
    ]
    return SpanRecord(
        execution_id=parent_id,
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_span_id=message.parent_span_id.hex(),
        name=message.name[:MAX_NAME],
        kind=_KIND_NAMES[message.kind] if message.kind < len(_KINDS) else "internal",
        start_time=message.start_time_unix_nano,
        end_time=end,
        status=_CODE_NAMES[code],
        error=status.message[:MAX_NAME] if code == _ERROR else "",
        attributes=child_attributes(attributes),
        events=child_events(events),
        span=span_facts.of_parts(
            flags=flags & 0xFF or _SAMPLED,
            state=_state_text(message.trace_state),
            remote=_is_remote(message),
            links=[_link_facts(link) for link in _links(message)],
        ),
    )


def _span(message: Span, attributes: dict[str, Any], end: int, rules: Rules) -> ReadableSpan:
    """An execution's span, as the SDK has them."""
    code = _CODES[message.status.code] if message.status.code < len(_CODES) else StatusCode.UNSET
    description = message.status.message[: Given.MAX_TEXT] if code is StatusCode.ERROR else ""
    events = [
        Event(event.name, values_of(event.attributes), min(event.time_unix_nano, _MAX_TIME))
        for event in message.events[:_MAX_EVENTS]
    ]
    attributes.setdefault(names.DURATION, end - message.start_time_unix_nano)
    given = Given(attributes, rules)
    given.check(is_error=code is StatusCode.ERROR, description=description)
    if rules.capture.track_errors:
        _take_exception(attributes, events, end=end)
    else:
        description, events = "", [event for event in events if event.name != "exception"]
    trace_id, parent = int.from_bytes(message.trace_id), message.parent_span_id
    return ReadableSpan(
        message.name[:MAX_NAME],
        context=SpanContext(
            trace_id,
            int.from_bytes(message.span_id),
            is_remote=False,
            trace_flags=TraceFlags(message.flags & 0xFF or _SAMPLED),
            trace_state=_state(message.trace_state),
        ),
        parent=SpanContext(trace_id, int.from_bytes(parent), is_remote=_is_remote(message)) if parent else None,
        attributes=attributes,
        events=events,
        links=[_link(link) for link in _links(message)],
        resource=_NO_RESOURCE,
        kind=_KINDS[message.kind] if message.kind < len(_KINDS) else SpanKind.INTERNAL,
        status=Status(code, description or None),
        start_time=message.start_time_unix_nano,
        end_time=end,
    )


def derived_id(trace_id: bytes, span_id: bytes, start: int) -> str:
    """A UUIDv7 (so ids sort by start) that is the same for the same span, whenever it comes.

    >>> derived_id(b"t" * 16, b"s" * 8, 1_735_689_600_000_000_000)
    '01941f29-7c00-70c9-adb7-64af596972f1'
    """
    noise = int.from_bytes(sha256(trace_id + span_id).digest()[:10])
    bits = (start // 1_000_000 & (2**48 - 1)) << 80 | noise
    bits = bits & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=bits & ~(0b11 << 62) | 0b10 << 62))


def _id_of_execution(attributes: dict[str, Any], message: Span) -> str:
    """The execution that the span is, empty where it is none; what it says of a parent is an id, or not there."""
    if names.EXECUTION_ID in attributes:
        attributes.pop(names.PARENT_EXECUTION_ID, None)
        return _execution_id(attributes[names.EXECUTION_ID], names.EXECUTION_ID)
    if names.PARENT_EXECUTION_ID in attributes:
        attributes[names.PARENT_EXECUTION_ID] = _execution_id(
            attributes[names.PARENT_EXECUTION_ID], names.PARENT_EXECUTION_ID
        )
        return ""
    if attributes.get(names.PLUGIN_NAME):
        return derived_id(message.trace_id, message.span_id, message.start_time_unix_nano)
    return ""


def _execution_id(value: object, name: str) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise UnusableSpanError(f"{name} is {str(value)[:80]!r}: expected a UUID, best a UUIDv7") from None


def _take_exception(attributes: dict[str, Any], events: list[Event], *, end: int) -> None:
    """Fill the fields of a failure from the exception's event; it goes where it says nothing more than they do."""
    if names.ERROR_TYPE not in attributes or not events or events[-1].name != "exception":
        return
    told: Any = events[-1].attributes
    for field, name in ((names.ERROR, EXCEPTION_MESSAGE), (names.TRACEBACK, EXCEPTION_STACKTRACE)):
        if not attributes.get(field) and isinstance(told.get(name), str):
            attributes[field] = told[name][: Given.MAX_TEXT]
    is_ours = told.get(EXCEPTION_TYPE) == attributes[names.ERROR_TYPE] and events[-1].timestamp == end
    if is_ours and _EXCEPTION.issuperset(told):
        events.pop()


def _check_id(value: bytes, length: int, name: str) -> None:
    if len(value) != length or value in _ZEROS:
        raise UnusableSpanError(f"its {name} is {value[:20].hex()!r}: expected {length} bytes, not all zero")


def _is_remote(message: Span) -> bool:
    return bool(message.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK and message.parent_span_id)


def _state(text: str) -> TraceState | None:
    return TraceState.from_header([text]) if text else None


def _state_text(text: str) -> str:
    return TraceState.from_header([text]).to_header() if text else ""


def _links(message: Span) -> Iterable[Span.Link]:
    if not message.links:
        return ()
    return [link for link in message.links[:_MAX_LINKS] if len(link.trace_id) == 16 and len(link.span_id) == 8]


def _link(link: Span.Link) -> Link:
    ids = int.from_bytes(link.trace_id), int.from_bytes(link.span_id)
    context = SpanContext(*ids, is_remote=True, trace_state=_state(link.trace_state))
    return Link(context, values_of(link.attributes))


def _link_facts(link: Span.Link) -> dict[str, Any]:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "state": _state_text(link.trace_state),
        "attributes": values_of(link.attributes),
    }
