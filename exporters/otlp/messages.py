"""Rows of the history as OTLP messages, as if the spans themselves were sent. Pure.

In: execution and child span records that ended. Out: `Span` messages, requests of them, and the JSON form of a request.
Source: https://opentelemetry.io/docs/specs/otlp/ and opentelemetry-proto 1.10, trace/v1/trace.proto.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID

from exporters.otlp import payloads
from exporters.otlp.payloads import PayloadPolicy
from otel_tracker import conventions as names
from otel_tracker import span_facts
from otel_tracker.record import ExecutionRecord, Row, SpanRecord
from otel_tracker.record import Status as ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCOPE_NAME: Final = "otel_tracker"
_KINDS: Final = {
    "internal": Span.SPAN_KIND_INTERNAL,
    "server": Span.SPAN_KIND_SERVER,
    "client": Span.SPAN_KIND_CLIENT,
    "producer": Span.SPAN_KIND_PRODUCER,
    "consumer": Span.SPAN_KIND_CONSUMER,
}
_CODES: Final = {"unset": Status.STATUS_CODE_UNSET, "ok": Status.STATUS_CODE_OK, "error": Status.STATUS_CODE_ERROR}
_TRACE_FLAGS: Final = 0xFF
_INT64: Final = range(-(2**63), 2**63)
_EVENTS: Final = msgspec.json.Decoder(list[span_facts.SpanEvent])
_HEX_FIELDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


def span_message(row: Row, *, policy: PayloadPolicy = PayloadPolicy.PREVIEW, aliases: bool = False) -> Span:
    """The span that the row was made of. A row that has not ended must not be sent: OTLP has no running spans."""
    if isinstance(row, ExecutionRecord):
        return _execution(row, payloads.attributes(row, policy, aliases=aliases))
    return _child(row)


def request(spans: Iterable[tuple[str, Span]], *, resource: Mapping[str, str]) -> ExportTraceServiceRequest:
    """One request for spans, each with the id of the instance that made it; `resource` is what all have in common."""
    by_instance: dict[str, list[Span]] = {}
    for instance_id, span in spans:
        by_instance.setdefault(instance_id, []).append(span)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=_key_values(_resource(resource, instance_id))),
                scope_spans=[ScopeSpans(scope=InstrumentationScope(name=SCOPE_NAME), spans=found)],
            )
            for instance_id, found in by_instance.items()
        ]
    )


def as_json(message: ExportTraceServiceRequest) -> bytes:
    """The OTLP/JSON form: ids in hex, enums as numbers, 64-bit integers as strings; what Jaeger imports."""
    return msgspec.json.encode(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True)))


def _execution(record: ExecutionRecord, texts: dict[str, Any]) -> Span:
    facts = span_facts.read(record.span)
    is_error = record.status is not ExecutionStatus.COMPLETED
    values: dict[str, Any] = {
        names.EXECUTION_ID: record.id,
        names.PLUGIN_NAME: record.plugin_name,
        names.STATUS: record.status.value,
        names.DURATION: record.duration,
        names.ATTEMPTS: record.attempts,
        names.INSTANCE_ID: record.instance_id,
        names.DELIVERY_ID: record.delivery_id,
        names.ERROR_TYPE: record.error_type,
        names.ERROR: record.error,
        names.HTTP_REQUEST_METHOD: record.http_method,
        names.CLIENT_ADDRESS: record.remote_ip,
        names.USER_AGENT_ORIGINAL: record.user_agent,
        names.TAGS: "" if record.tags == "{}" else record.tags,
        names.METADATA: "" if record.metadata == "{}" else record.metadata,
    }
    attributes = {name: value for name, value in values.items() if value != ""} | texts | facts.attributes
    events = _events(facts.events)
    if is_error:
        events.append(_exception(record, str(texts.get(names.TRACEBACK, ""))))
    return Span(
        trace_id=_id(record.trace_id, 16),
        span_id=_id(record.span_id, 8),
        parent_span_id=_id(record.parent_span_id, 8),
        name=facts.name or f"execute {record.plugin_name}",
        kind=_KINDS.get(facts.kind, Span.SPAN_KIND_INTERNAL),
        start_time_unix_nano=record.start_time,
        end_time_unix_nano=record.end_time or record.start_time,
        attributes=_key_values(attributes),
        events=events,
        links=_links(facts.links),
        status=Status(code=Status.STATUS_CODE_ERROR, message=record.error) if is_error else Status(),
        flags=_flags(facts),
        trace_state=facts.state,
    )


def _child(record: SpanRecord) -> Span:
    facts = span_facts.read(record.span)
    attributes = {names.PARENT_EXECUTION_ID: record.execution_id} | _object(record.attributes)
    return Span(
        trace_id=_id(record.trace_id, 16),
        span_id=_id(record.span_id, 8),
        parent_span_id=_id(record.parent_span_id, 8),
        name=record.name,
        kind=_KINDS.get(record.kind, Span.SPAN_KIND_INTERNAL),
        start_time_unix_nano=record.start_time,
        end_time_unix_nano=record.end_time,
        attributes=_key_values(attributes),
        events=_events(_event_list(record.events)),
        links=_links(facts.links),
        status=Status(code=_CODES.get(record.status, Status.STATUS_CODE_UNSET), message=record.error),
        flags=_flags(facts),
        trace_state=facts.state,
    )


def _exception(record: ExecutionRecord, stacktrace: str) -> Span.Event:
    """OpenTelemetry's exception event: what Jaeger and Phoenix show of a failure."""
    facts = {
        EXCEPTION_TYPE: record.error_type,
        EXCEPTION_MESSAGE: record.error,
        EXCEPTION_STACKTRACE: stacktrace,
    }
    return Span.Event(
        name="exception",
        time_unix_nano=record.end_time or record.start_time,
        attributes=_key_values({name: value for name, value in facts.items() if value}),
    )


def _flags(facts: span_facts.SpanFacts) -> int:
    flags = facts.flags & _TRACE_FLAGS | trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    return flags | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK if facts.remote else flags


def _events(events: Iterable[span_facts.SpanEvent]) -> list[Span.Event]:
    return [
        Span.Event(name=event.name, time_unix_nano=event.time, attributes=_key_values(event.attributes))
        for event in events
    ]


def _links(links: Iterable[span_facts.SpanLink]) -> list[Span.Link]:
    return [
        Span.Link(
            trace_id=_id(link.trace_id, 16),
            span_id=_id(link.span_id, 8),
            trace_state=link.state,
            attributes=_key_values(link.attributes),
        )
        for link in links
    ]


def _event_list(text: str) -> list[span_facts.SpanEvent]:
    """Of a child's `events`; one that was cut is no such list any more."""
    try:
        return _EVENTS.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return []


def _object(text: str) -> dict[str, Any]:
    """Of a child's `attributes`; what was cut is no object any more, and is sent as the text that it is."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return {"otel_tracker.attributes": text} if text else {}
    return found if isinstance(found, dict) else {}


def _key_values(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=_text(name), value=any_value(value)) for name, value in values.items()]


def any_value(value: object) -> AnyValue:
    """A JSON value as OTLP's `AnyValue`; null is the empty one, an integer beyond 64 bits a text."""
    match value:
        case bool():
            made = AnyValue(bool_value=value)
        case int():
            made = AnyValue(int_value=value) if value in _INT64 else AnyValue(string_value=str(value))
        case float():
            made = AnyValue(double_value=value)
        case list() | tuple():
            made = AnyValue(array_value=ArrayValue(values=map(any_value, value)))
        case dict():
            made = AnyValue(kvlist_value=KeyValueList(values=_key_values(value)))
        case None:
            made = AnyValue()
        case _:
            made = AnyValue(string_value=_text(str(value)))
    return made


def _text(text: str) -> str:
    """Protobuf's strings are UTF-8: a lone surrogate would make the whole request fail."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _id(text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == length else b""


def _resource(common: Mapping[str, str], instance_id: str) -> dict[str, str]:
    return {**common, SERVICE_INSTANCE_ID: instance_id} if instance_id else dict(common)


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64decode(inner).hex() if name in _HEX_FIELDS else _with_hex_ids(inner)
            for name, inner in value.items()
        }
    return [_with_hex_ids(inner) for inner in value] if isinstance(value, list) else value
