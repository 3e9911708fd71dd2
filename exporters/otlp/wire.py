"""Requests put together from spans that are encoded already, without decoding them. Pure.

In: spans as protobuf bytes, each with the instance and the service that made it. Out: an `ExportTraceServiceRequest` as
protobuf or JSON. A message inside another is its tag, its length and its bytes, so that spans need only be lined up.
Source: https://protobuf.dev/programming-guides/encoding/ and opentelemetry-proto 1.10, trace/v1/trace.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID

from exporters.otlp.messages import as_json, request
from exporters.otlp.resources import SERVICE_NAME, resource_named
from exporters.otlp.span_bytes import present_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SPANS_OF_SCOPE: Final = b"\x12"
_SCOPES_OF_RESOURCE: Final = b"\x12"
_RESOURCES_OF_REQUEST: Final = b"\x0a"


class EncodedSpan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A span as it waits for a destination."""

    instance_id: str
    data: bytes
    """A `Span` message of opentelemetry-proto."""
    service: str = ""
    """Of which other program it is; empty for the bridge's own."""


_encode = msgspec.msgpack.Encoder().encode
_decode: Final[msgspec.msgpack.Decoder[EncodedSpan]] = msgspec.msgpack.Decoder(EncodedSpan)


def to_frame(span: EncodedSpan) -> bytes:
    """As bytes for a spool."""
    return _encode(span)


def from_frame(frame: bytes) -> EncodedSpan:
    """And back. Raises `msgspec.MsgspecError`."""
    return _decode.decode(frame)


def spans_of(request: ExportTraceServiceRequest) -> list[EncodedSpan]:
    """The spans of a request that a `RequestEncoder` made."""
    found = []
    for of_resource in request.resource_spans:
        named = {one.key: one.value.string_value for one in of_resource.resource.attributes}
        maker = named.get(SERVICE_INSTANCE_ID, ""), named.get(SERVICE_NAME, "")
        spans = (span for scope in of_resource.scope_spans for span in scope.spans)
        found += [EncodedSpan(maker[0], span.SerializeToString(), maker[1]) for span in spans]
    return found


class RequestEncoder:
    """Makes requests; `resource` is what all spans of the bridge's own have in common."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self._resource = dict(resource)
        self._heads: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def protobuf(self, spans: Iterable[EncodedSpan]) -> bytes:
        """The request as protobuf."""
        by_maker: dict[tuple[str, str], list[bytes]] = {}
        for span in spans:
            maker = span.instance_id, span.service
            by_maker.setdefault(maker, []).append(present_field(_SPANS_OF_SCOPE, span.data))
        parts = []
        for maker, encoded in by_maker.items():
            resource, scope = self._head(maker)
            scope_spans = present_field(_SCOPES_OF_RESOURCE, scope + b"".join(encoded))
            parts.append(present_field(_RESOURCES_OF_REQUEST, resource + scope_spans))
        return b"".join(parts)

    def json(self, spans: Sequence[EncodedSpan]) -> bytes:
        """The request as OTLP/JSON."""
        return as_json(ExportTraceServiceRequest.FromString(self.protobuf(spans)))

    def _head(self, maker: tuple[str, str]) -> tuple[bytes, bytes]:
        """A `ResourceSpans` with its resource alone, and a `ScopeSpans` with its scope alone."""
        found = self._heads.get(maker)
        if found is None:
            if len(self._heads) > 1000:
                self._heads.clear()
            instance_id, service = maker
            named = resource_named(service, self._resource)
            made = request([(instance_id, Span())], resource=named).resource_spans[0]
            scope = made.scope_spans[0]
            del scope.spans[:]
            del made.scope_spans[1:]
            scope_bytes = scope.SerializeToString()
            del made.scope_spans[:]
            found = self._heads[maker] = (made.SerializeToString(), scope_bytes)
        return found
