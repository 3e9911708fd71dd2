"""Whose a span is: the bridge's own, or another program's that names its service in an attribute. Pure.

OTLP says it of a resource, a record only of its span: where another program's span becomes a record, its resource's
`service.name` is kept as an attribute of the span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_tracker.record import Row

SERVICE_NAME: Final = "service.name"


class _Named(msgspec.Struct):
    service: str = msgspec.field(default="", name=SERVICE_NAME)


class _Facts(msgspec.Struct):
    attributes: _Named = msgspec.field(default_factory=_Named)


_named: Final = msgspec.json.Decoder(_Named)
_facts: Final = msgspec.json.Decoder(_Facts)


def service_of(row: Row) -> str:
    """The service that the row's span names; empty where it is the bridge's own.

    >>> from otel_tracker.record import Status
    >>> service_of(ExecutionRecord(id="a", plugin_name="b", status=Status.COMPLETED, start_time=1))
    ''
    """
    text = row.span if isinstance(row, ExecutionRecord) else row.attributes
    if SERVICE_NAME not in text:
        return ""
    try:
        return (
            _facts.decode(text).attributes.service if isinstance(row, ExecutionRecord) else _named.decode(text).service
        )
    except (msgspec.MsgspecError, UnicodeError):
        return ""


def resource_named(service: str, own: Mapping[str, str]) -> Mapping[str, str]:
    """The resource attributes of a service's spans; of another program nothing but its name is known.

    >>> resource_named("", {"service.name": "bridge"}), resource_named("shop", {"service.name": "bridge"})
    ({'service.name': 'bridge'}, {'service.name': 'shop'})
    """
    return own if service in {"", own.get(SERVICE_NAME)} else {SERVICE_NAME: service}


def resource_of(span: Span, own: Mapping[str, str]) -> Mapping[str, str]:
    """The resource attributes of the span; `own` are those of the bridge.

    >>> from opentelemetry.proto.trace.v1.trace_pb2 import Span
    >>> resource_of(Span(), {"service.name": "bridge", "host.name": "here"})
    {'service.name': 'bridge', 'host.name': 'here'}
    """
    for attribute in span.attributes:
        if attribute.key == SERVICE_NAME:
            return resource_named(attribute.value.string_value, own)
    return own
