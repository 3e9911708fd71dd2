"""OTLP's attribute values as Python's. Pure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_PLAIN: Final = frozenset({"string_value", "int_value", "bool_value", "double_value"})


def values_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as a dict; bytes are base64 there, as in JSON."""
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        # Most are texts: they are settled here, which is a third of what a span costs.
        found[pair.key] = value.string_value if value.WhichOneof("value") == "string_value" else _value(value)
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind in _PLAIN:
        return getattr(value, kind)
    match kind:
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return values_of(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _:
            return None
