"""Rows of the history as OTLP's `Span` messages, written as protobuf bytes at once. Pure.

In: execution and child span records that ended. Out: bytes. Building the messages with protobuf's Python classes takes
five times as long, most of it for the two objects of each attribute.
Source: https://protobuf.dev/programming-guides/encoding/ and opentelemetry-proto 1.10: trace/v1/trace.proto,
common/v1/common.proto. A field is its tag (number << 3 | wire type), then a varint, 4 or 8 bytes, or length and bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)

from exporters.otlp import payloads
from otel_tracker import conventions as names
from otel_tracker import span_facts
from otel_tracker.record import ExecutionRecord, Row, SpanRecord
from otel_tracker.record import Status as ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from exporters.otlp.payloads import PayloadPolicy

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
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(128))
_FIXED32: Final = struct.Struct("<I").pack
_FIXED64: Final = struct.Struct("<Q").pack
_DOUBLE: Final = struct.Struct("<d").pack
_FLAGS_TAG: Final = b"\x85\x01"  # field 16, 4 bytes


def span_bytes(row: Row, *, policy: PayloadPolicy, aliases: bool) -> bytes:
    """The span that the row was made of, as a `Span`."""
    if isinstance(row, ExecutionRecord):
        return _execution(row, payloads.attributes(row, policy, aliases=aliases))
    return _child(row)


def _execution(record: ExecutionRecord, texts: dict[str, Any]) -> bytes:
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
    events = [_event(event) for event in facts.events]
    status = b""
    if is_error:
        events.append(_exception(record, str(texts.get(names.TRACEBACK, ""))))
        status = _field(b"\x12", _text(record.error)) + b"\x18" + _varint(Status.STATUS_CODE_ERROR)
    return _span(
        record,
        facts,
        name=facts.name or f"execute {record.plugin_name}",
        kind=facts.kind,
        end_time=record.end_time or record.start_time,
        attributes=attributes,
        events=events,
        status=status,
    )


def _child(record: SpanRecord) -> bytes:
    facts = span_facts.read(record.span)
    code = _CODES.get(record.status, Status.STATUS_CODE_UNSET)
    return _span(
        record,
        facts,
        name=record.name,
        kind=record.kind,
        end_time=record.end_time,
        attributes={names.PARENT_EXECUTION_ID: record.execution_id} | _object(record.attributes),
        events=[_event(event) for event in _event_list(record.events)],
        status=_field(b"\x12", _text(record.error)) + b"\x18" + _varint(code),
    )


def _span(  # noqa: PLR0913 - the fields in which an execution and a child differ
    row: Row,
    facts: span_facts.SpanFacts,
    *,
    name: str,
    kind: str,
    end_time: int,
    attributes: Mapping[str, Any],
    events: Iterable[bytes],
    status: bytes,
) -> bytes:
    return b"".join(
        (
            _field(b"\x0a", _id(row.trace_id, 16)),
            _field(b"\x12", _id(row.span_id, 8)),
            _field(b"\x1a", _text(facts.state)),
            _field(b"\x22", _id(row.parent_span_id, 8)),
            _field(b"\x2a", _text(name)),
            b"\x30" + _varint(_KINDS.get(kind, Span.SPAN_KIND_INTERNAL)),
            b"\x39" + _FIXED64(row.start_time),
            b"\x41" + _FIXED64(end_time),
            _attributes(b"\x4a", attributes),
            *(_field(b"\x5a", event) for event in events),
            *(_field(b"\x6a", _link(link)) for link in facts.links),
            b"\x7a" + _varint(len(status)) + status,
            _FLAGS_TAG + _FIXED32(_flags(facts)),
        )
    )


def _exception(record: ExecutionRecord, stacktrace: str) -> bytes:
    """OpenTelemetry's exception event: what Jaeger and Phoenix show of a failure."""
    facts = {
        EXCEPTION_TYPE: record.error_type,
        EXCEPTION_MESSAGE: record.error,
        EXCEPTION_STACKTRACE: stacktrace,
    }
    given = {name: value for name, value in facts.items() if value}
    return _event(span_facts.SpanEvent("exception", record.end_time or record.start_time, given))


def _event(event: span_facts.SpanEvent) -> bytes:
    return b"\x09" + _FIXED64(event.time) + _field(b"\x12", _text(event.name)) + _attributes(b"\x1a", event.attributes)


def _link(link: span_facts.SpanLink) -> bytes:
    return (
        _field(b"\x0a", _id(link.trace_id, 16))
        + _field(b"\x12", _id(link.span_id, 8))
        + _field(b"\x1a", _text(link.state))
        + _attributes(b"\x22", link.attributes)
    )


def _flags(facts: span_facts.SpanFacts) -> int:
    flags = facts.flags & _TRACE_FLAGS | trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    return flags | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK if facts.remote else flags


def _event_list(text: str) -> list[span_facts.SpanEvent]:
    """Of a child's `events`; one that was cut is no such list any more."""
    if text == "[]":
        return []
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


# --- protobuf


def any_value_bytes(value: object) -> bytes:
    """A JSON value as an `AnyValue`; null is the empty one, an integer beyond 64 bits a text."""
    if type(value) is str:
        data = value.encode("utf-8", "replace")
        length = len(data)
        return b"\x0a" + (_ONE_BYTE[length] if length < 128 else _varint(length)) + data
    encode = _BY_TYPE.get(type(value))
    return encode(value) if encode is not None else _string(str(value))


def _string(value: str) -> bytes:
    data = _text(value)
    return b"\x0a" + _varint(len(data)) + data


def _boolean(value: bool) -> bytes:  # noqa: FBT001 - one of a table
    return b"\x10\x01" if value else b"\x10\x00"


def _integer(value: int) -> bytes:
    return b"\x18" + _varint(value) if value in _INT64 else _string(str(value))


def _double(value: float) -> bytes:
    return b"\x21" + _DOUBLE(value)


def _list(value: Iterable[object]) -> bytes:
    return present_field(b"\x2a", b"".join(present_field(b"\x0a", any_value_bytes(item)) for item in value))


def _dict(value: Mapping[str, object]) -> bytes:
    return present_field(b"\x32", _attributes(b"\x0a", value))


def _nothing(_: object) -> bytes:
    return b""


_BY_TYPE: Final[dict[type, Callable[[Any], bytes]]] = {
    str: _string,
    bool: _boolean,
    int: _integer,
    float: _double,
    list: _list,
    tuple: _list,
    dict: _dict,
    type(None): _nothing,
}


def _attributes(tag: bytes, values: Mapping[str, Any]) -> bytes:
    """A `KeyValue` each, in the repeated field of that tag."""
    parts: list[bytes] = []
    for name, value in values.items():
        encoded = any_value_bytes(value)
        key, length = _key(name), len(encoded)
        head = _ONE_BYTE[length] if length < 128 else _varint(length)
        size = len(key) + len(head) + length
        parts += (tag, _ONE_BYTE[size] if size < 128 else _varint(size), key, head, encoded)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    """The key, and the tag of the value that follows."""
    return present_field(b"\x0a", _text(name)) + b"\x12"


def _field(tag: bytes, data: bytes) -> bytes:
    """A field of bytes; an empty one is not there."""
    return tag + _varint(len(data)) + data if data else b""


def present_field(tag: bytes, data: bytes) -> bytes:
    """A field of bytes, there even where it is empty."""
    return tag + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the highest bit says that more follow; a negative one is of 64 bits.

    >>> _varint(300).hex(), _varint(-1).hex()
    ('ac02', 'ffffffffffffffffff01')
    """
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    number &= 0xFFFFFFFFFFFFFFFF
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _text(text: str) -> bytes:
    """Protobuf's strings are UTF-8: a lone surrogate would make the whole request fail."""
    return text.encode("utf-8", "replace")


def _id(text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == length else b""
