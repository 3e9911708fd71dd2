"""Rows of a trace → a trace in Jaeger's JSON, by OpenTelemetry's rules for it. Pure.

A row becomes the OTLP span that is forwarded for it, and that becomes Jaeger's: so both show the same. Payloads are
shown up to `SHOWN_CHARACTERS`. Source: https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv.attributes.otel_attributes import OTEL_SCOPE_NAME, OTEL_STATUS_CODE, OTEL_STATUS_DESCRIPTION
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID

from bridge_app.api.jaeger.shapes import JaegerLog, JaegerProcess, JaegerReference, JaegerSpan, JaegerTag, JaegerTrace
from exporters.otlp.messages import SCOPE_NAME, span_message
from exporters.otlp.payloads import PayloadPolicy
from exporters.otlp.resources import SERVICE_NAME, resource_of
from otel_tracker import conventions as names
from otel_tracker.record import ExecutionRecord
from otel_tracker.record import Status as ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    from otel_tracker.query import TraceRows
    from otel_tracker.record import Row

SHOWN_CHARACTERS: Final = 2048
"""Of input, output, traceback, logs and metadata; a tag `….truncated` says that there is more."""
READ_CHARACTERS: Final = SHOWN_CHARACTERS + 1
"""What to ask a reader for: one more tells that there is more."""
CUT: Final = "The history has more of this trace than is shown here."
RUNNING: Final = "It is still running."
_CUT_TAGS: Final = {
    "input": names.INPUT,
    "output": names.OUTPUT,
    "traceback": names.TRACEBACK,
    "logs": names.LOGS,
    "metadata": names.METADATA,
}
_W3C_FLAGS: Final = 0xFF
_encode: Final = msgspec.json.Encoder().encode


def jaeger_trace(trace_id: str, rows: TraceRows, *, resource: Mapping[str, str], now: int) -> JaegerTrace:
    """One trace. `resource` is that of the bridge's own spans, `service.name` among it; `now` is in nanoseconds."""
    processes = _Processes(resource, {record.id: record.instance_id for record in rows.executions})
    found: Sequence[Row] = [*rows.executions, *rows.spans]
    return JaegerTrace(
        traceID=trace_id,
        spans=[_span(row, processes=processes, now=now) for row in found],
        processes=processes.told,
        warnings=None if rows.is_whole else [CUT],
    )


class _Processes:
    """Services and their instances, each numbered when it is first seen."""

    def __init__(self, own: Mapping[str, str], instances: Mapping[str, str]) -> None:
        self.told: dict[str, JaegerProcess] = {}
        self._own = own
        self._instances = instances
        self._keys: dict[tuple[str, str], str] = {}

    def key(self, row: Row, message: Span) -> str:
        """The number of the span's process."""
        instance = row.instance_id if isinstance(row, ExecutionRecord) else self._instances[row.execution_id]
        resource = resource_of(message, self._own)
        service = resource.get(SERVICE_NAME, "")
        key = self._keys.setdefault((service, instance), f"p{len(self._keys) + 1}")
        if key not in self.told:
            self.told[key] = _process(service, instance, resource)
        return key


def _process(service: str, instance_id: str, resource: Mapping[str, str]) -> JaegerProcess:
    attributes = {**resource, SERVICE_INSTANCE_ID: instance_id} if instance_id else {**resource}
    attributes.pop(SERVICE_NAME, None)
    return JaegerProcess(serviceName=service, tags=[_text(name, value) for name, value in attributes.items()])


def _span(row: Row, *, processes: _Processes, now: int) -> JaegerSpan:
    is_running = row.end_time is None
    marks = _marks(row) if isinstance(row, ExecutionRecord) else []
    if isinstance(row, ExecutionRecord):
        row = _shown(row, now)
    message = span_message(row, policy=PayloadPolicy.FULL)
    status = "running" if is_running else ""
    return JaegerSpan(
        traceID=row.trace_id,
        spanID=row.span_id,
        flags=message.flags & _W3C_FLAGS,
        operationName=message.name,
        references=_references(message, row),
        startTime=message.start_time_unix_nano // 1000,
        duration=max(0, message.end_time_unix_nano - message.start_time_unix_nano) // 1000,
        tags=[*_tags(message.attributes, status), *marks, *_own_tags(message)],
        logs=[_log(event) for event in message.events],
        processID=processes.key(row, message),
        warnings=[RUNNING] if is_running else None,
    )


def _shown(record: ExecutionRecord, now: int) -> ExecutionRecord:
    """With its payloads cut, and one that runs as if it had ended now, without an error."""
    cut = {name: getattr(record, name)[:SHOWN_CHARACTERS] for name in _CUT_TAGS}
    if record.end_time is None:
        return replace(record, end_time=max(now, record.start_time), status=ExecutionStatus.COMPLETED, **cut)
    return replace(record, **cut)


def _marks(record: ExecutionRecord) -> list[JaegerTag]:
    return [
        _boolean(f"{tag}.truncated") for name, tag in _CUT_TAGS.items() if len(getattr(record, name)) > SHOWN_CHARACTERS
    ]


def _references(message: Span, row: Row) -> list[JaegerReference]:
    parent = [JaegerReference(refType="CHILD_OF", traceID=row.trace_id, spanID=row.parent_span_id)]
    links = [
        JaegerReference(refType="FOLLOWS_FROM", traceID=link.trace_id.hex(), spanID=link.span_id.hex())
        for link in message.links
    ]
    return [*parent, *links] if row.parent_span_id else links


def _own_tags(message: Span) -> list[JaegerTag]:
    """What OTLP has fields for and Jaeger has not."""
    found = [_text(OTEL_SCOPE_NAME, SCOPE_NAME), _text("span.kind", _kind(message))]
    match message.status.code:
        case Status.STATUS_CODE_ERROR:
            found += [_text(OTEL_STATUS_CODE, "ERROR"), _boolean("error")]
        case Status.STATUS_CODE_OK:
            found.append(_text(OTEL_STATUS_CODE, "OK"))
    if message.status.message:
        found.append(_text(OTEL_STATUS_DESCRIPTION, message.status.message))
    if message.trace_state:
        found.append(_text("w3c.tracestate", message.trace_state))
    return found


def _kind(message: Span) -> str:
    return Span.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_").lower()


def _log(event: Span.Event) -> JaegerLog:
    return JaegerLog(
        timestamp=event.time_unix_nano // 1000, fields=[_text("event", event.name), *_tags(event.attributes)]
    )


def _tags(attributes: Iterable[KeyValue], status: str = "") -> list[JaegerTag]:
    """`status` stands in for what was set so that the message could be made."""
    return [
        _text(names.STATUS, status) if status and one.key == names.STATUS else _tag(one.key, one.value)
        for one in attributes
    ]


def _tag(key: str, value: AnyValue) -> JaegerTag:
    match value.WhichOneof("value"):
        case "bool_value":
            return _boolean(key, is_so=value.bool_value)
        case "int_value":
            return JaegerTag(key=key, type="int64", value=value.int_value)
        case "double_value":
            return JaegerTag(key=key, type="float64", value=value.double_value)
        case "string_value":
            return _text(key, value.string_value)
        case _:
            return _text(key, _encode(_plain(value)).decode())


def _plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: _plain(one.value) for one in value.kvlist_value.values}
        case None:
            return None
        case kind:
            return getattr(value, kind)


def _text(key: str, value: str) -> JaegerTag:
    return JaegerTag(key=key, type="string", value=value)


def _boolean(key: str, *, is_so: bool = True) -> JaegerTag:
    return JaegerTag(key=key, type="bool", value=is_so)
