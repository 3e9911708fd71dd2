"""Whose a span is: the bridge's own, or another program's that names its service in an attribute. Pure.

OTLP says it of a resource, a record only of its span: where another program's span becomes a record, its resource's
`service.name` is kept as an attribute of the span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVICE_NAME: Final = "service.name"


def resource_of(span: Span, own: Mapping[str, str]) -> Mapping[str, str]:
    """The resource attributes of the span; `own` are those of the bridge.

    >>> from opentelemetry.proto.trace.v1.trace_pb2 import Span
    >>> resource_of(Span(), {"service.name": "bridge", "host.name": "here"})
    {'service.name': 'bridge', 'host.name': 'here'}
    """
    for attribute in span.attributes:
        if attribute.key == SERVICE_NAME:
            named = attribute.value.string_value
            return own if named in {"", own.get(SERVICE_NAME)} else {SERVICE_NAME: named}
    return own
