"""Rows of the history as OTLP messages, as if the spans themselves were sent. Pure.

In: execution and child span records that ended. Out: `Span` messages, requests of them, and the JSON form of a request.
Source: https://opentelemetry.io/docs/specs/otlp/ and opentelemetry-proto 1.10, trace/v1/trace.proto.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID

from exporters.otlp.payloads import PayloadPolicy
from exporters.otlp.span_bytes import any_value_bytes, span_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_tracker.record import Row

SCOPE_NAME: Final = "otel_tracker"
_HEX_FIELDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


def span_message(row: Row, *, policy: PayloadPolicy = PayloadPolicy.PREVIEW, aliases: bool = False) -> Span:
    """The span that the row was made of. A row that has not ended must not be sent: OTLP has no running spans."""
    return Span.FromString(span_bytes(row, policy=policy, aliases=aliases))


def any_value(value: object) -> AnyValue:
    """A JSON value as OTLP's `AnyValue`; null is the empty one, an integer beyond 64 bits a text."""
    return AnyValue.FromString(any_value_bytes(value))


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


def of_json(text: bytes) -> ExportTraceServiceRequest:
    """What `as_json` was given. Raises `msgspec.MsgspecError`, `ValueError` or `ParseError` for anything else."""
    given = _with_base64_ids(msgspec.json.decode(text))
    return ParseDict(given, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _key_values(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=any_value(value)) for name, value in values.items()]


def _resource(common: Mapping[str, str], instance_id: str) -> dict[str, str]:
    return {**common, SERVICE_INSTANCE_ID: instance_id} if instance_id else dict(common)


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64decode(inner).hex() if name in _HEX_FIELDS else _with_hex_ids(inner)
            for name, inner in value.items()
        }
    return [_with_hex_ids(inner) for inner in value] if isinstance(value, list) else value


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes.fromhex(inner)).decode() if name in _HEX_FIELDS else _with_base64_ids(inner)
            for name, inner in value.items()
        }
    return [_with_base64_ids(inner) for inner in value] if isinstance(value, list) else value
