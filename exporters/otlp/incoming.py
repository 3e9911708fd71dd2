"""OTLP spans of other programs as spans of the SDK, safe to make rows of: the way back of `messages`. Pure.

In: a `Span` message and the attributes of its resource. Out: a `ReadableSpan` for `otel_tracker.conversion`, so that a
record comes to be in one way only. What we read of attributes is brought to its type, its bounds and through the same
redaction as our own; all else is bounded and redacted there. A span that cannot be kept raises `UnusableSpanError`.

A span is an execution where it has `otel_tracker.execution.id`, or only `otel_tracker.plugin.name`: then its id is made
of its start and of its own ids, so that a batch that is sent twice is one execution.
"""

from __future__ import annotations

import base64
import uuid
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from exporters.otlp.given import Given
from otel_tracker import conventions as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from exporters.otlp.given import Rules

SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE: Final = "service.instance.id"
_MAX_TIME: Final = 2**63 - 1
_MAX_EVENTS, _MAX_LINKS = 1024, 128
_KINDS: Final = (
    SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER,
)  # fmt: skip
_CODES: Final = (StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR)
_SAMPLED: Final = 1
_PLAIN: Final = frozenset({"string_value", "int_value", "bool_value", "double_value"})
_EXCEPTION: Final = frozenset({"exception.type", "exception.message", "exception.stacktrace"})


class UnusableSpanError(ValueError):
    """The span cannot be kept; the text says why."""


class Sent(NamedTuple):
    """A span that came."""

    span: ReadableSpan
    attributes: dict[str, Any]
    """The span's own: what is put in here is on the span."""
    trace_id: int
    span_id: int
    parent_span_id: int
    """0 where it is a root."""

    @property
    def execution_id(self) -> str:
        """The execution that it is; empty where it is none."""
        return str(self.attributes.get(names.EXECUTION_ID, ""))

    @property
    def parent_id(self) -> str:
        """The execution that it says it belongs to, or was found to; empty where none is known."""
        return str(self.attributes.get(names.PARENT_EXECUTION_ID, ""))

    def join(self, execution_id: str) -> None:
        """Make it a child of that execution."""
        self.attributes[names.PARENT_EXECUTION_ID] = execution_id


def messages_of(request: ExportTraceServiceRequest) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Each span of the request with the attributes of its resource that are kept of it."""
    for of_resource in request.resource_spans:
        resource = _values(of_resource.resource.attributes)
        kept = {name: str(resource[name]) for name in (SERVICE_NAME, SERVICE_INSTANCE) if resource.get(name)}
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield span, kept


def read(message: Span, resource: Mapping[str, str], rules: Rules) -> Sent:
    """The span, its attributes checked. Raises `UnusableSpanError`."""
    trace_id, span_id = _id(message.trace_id, 16, "trace_id"), _id(message.span_id, 8, "span_id")
    parent_id = _id(message.parent_span_id, 8, "parent_span_id") if message.parent_span_id else 0
    start, end = message.start_time_unix_nano, message.end_time_unix_nano
    if not 0 < start <= _MAX_TIME or end > _MAX_TIME:
        raise UnusableSpanError("its start or end is no time: nanoseconds since 1970 are expected")
    end = max(start, end)
    attributes = _values(message.attributes)
    events = [
        Event(event.name, _values(event.attributes), min(event.time_unix_nano, _MAX_TIME))
        for event in message.events[:_MAX_EVENTS]
    ]
    code = _CODES[message.status.code] if message.status.code < len(_CODES) else StatusCode.UNSET
    description = message.status.message if code is StatusCode.ERROR else ""
    _make_ours(attributes, message, end=end)
    if names.EXECUTION_ID in attributes:
        given = Given(attributes, rules)
        given.check(is_error=code is StatusCode.ERROR, description=description)
        _take_exception(attributes, events, end=end)
        attributes.setdefault(names.INSTANCE_ID, resource.get(SERVICE_INSTANCE, ""))
    if service := resource.get(SERVICE_NAME):
        attributes.setdefault(SERVICE_NAME, service)
    flags = message.flags
    span = ReadableSpan(
        message.name,
        context=SpanContext(
            trace_id,
            span_id,
            is_remote=False,
            # Most senders leave the byte empty; what they send is sampled.
            trace_flags=TraceFlags(flags & 0xFF or _SAMPLED),
            trace_state=_state(message.trace_state),
        ),
        parent=SpanContext(trace_id, parent_id, is_remote=bool(flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK))
        if parent_id
        else None,
        attributes=attributes,
        events=events,
        links=[
            _link(link) for link in message.links[:_MAX_LINKS] if len(link.trace_id) == 16 and len(link.span_id) == 8
        ],
        kind=_KINDS[message.kind] if message.kind < len(_KINDS) else SpanKind.INTERNAL,
        status=Status(code, description or None),
        start_time=start,
        end_time=end,
    )
    return Sent(span, attributes, trace_id, span_id, parent_id)


def derived_id(trace_id: bytes, span_id: bytes, start: int) -> str:
    """A UUIDv7 (so ids sort by start) that is the same for the same span, whenever it comes.

    >>> derived_id(b"t" * 16, b"s" * 8, 1_735_689_600_000_000_000)
    '01941f29-7c00-70c9-adb7-64af596972f1'
    """
    noise = int.from_bytes(sha256(trace_id + span_id).digest()[:10])
    bits = (start // 1_000_000 & (2**48 - 1)) << 80 | noise
    bits = bits & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=bits & ~(0b11 << 62) | 0b10 << 62))


def _make_ours(attributes: dict[str, Any], message: Span, *, end: int) -> None:
    """See to it that the two ids of executions are ids, or not there."""
    for name in (names.EXECUTION_ID, names.PARENT_EXECUTION_ID):
        if name in attributes:
            attributes[name] = _execution_id(attributes[name], name)
    if names.EXECUTION_ID in attributes:
        attributes.pop(names.PARENT_EXECUTION_ID, None)
    elif names.PARENT_EXECUTION_ID not in attributes and attributes.get(names.PLUGIN_NAME):
        attributes[names.EXECUTION_ID] = derived_id(message.trace_id, message.span_id, message.start_time_unix_nano)
    attributes.setdefault(names.DURATION, end - message.start_time_unix_nano)
    if names.EXECUTION_ID not in attributes:
        del attributes[names.DURATION]


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
    for field, name in ((names.ERROR, "exception.message"), (names.TRACEBACK, "exception.stacktrace")):
        if not attributes.get(field) and isinstance(told.get(name), str):
            attributes[field] = told[name][: Given.MAX_TEXT]
    is_ours = told.get("exception.type") == attributes[names.ERROR_TYPE] and events[-1].timestamp == end
    if is_ours and _EXCEPTION.issuperset(told):
        events.pop()


def _id(value: bytes, length: int, name: str) -> int:
    found = int.from_bytes(value) if len(value) == length else 0
    if not found:
        raise UnusableSpanError(f"its {name} is {value[:20].hex()!r}: expected {length} bytes, not all zero")
    return found


def _state(text: str) -> TraceState | None:
    return TraceState.from_header([text]) if text else None


def _link(link: Span.Link) -> Link:
    context = SpanContext(
        int.from_bytes(link.trace_id),
        int.from_bytes(link.span_id),
        is_remote=True,
        trace_state=_state(link.trace_state),
    )
    return Link(context, _values(link.attributes))


def _values(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return getattr(value, kind)
    match kind:
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return _values(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _:
            return None
