"""The bytes of an OTLP/HTTP request as its message: unpacked within a bound, protobuf or JSON. Pure.

Source: https://opentelemetry.io/docs/specs/otlp/ (OTLP/HTTP). JSON is protobuf's own mapping, but for ids, which are
hexadecimal there; enums come as numbers, 64-bit integers as numbers or texts, unknown fields are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any, Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_ID_FIELDS: Final = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


class UndecodableError(ValueError):
    """The bytes are not what they are said to be."""


class UnknownEncodingError(ValueError):
    """A `Content-Encoding` that is not read here."""


class UnpackedTooLargeError(ValueError):
    """The body is too large once it is unpacked."""


def unpack(body: bytes, *, encoding: str, max_bytes: int) -> bytes:
    """The body without its `Content-Encoding`: gzip, deflate, or none ("" or identity). Raises the errors above.

    >>> import gzip
    >>> unpack(gzip.compress(b"spans"), encoding="gzip", max_bytes=5)
    b'spans'
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        unpacked = body
    elif encoding in _WINDOW_BITS:
        unpacked = _inflate(body, _WINDOW_BITS[encoding], max_bytes)
    else:
        raise UnknownEncodingError(f"Content-Encoding is {encoding[:40]!r}: send gzip, deflate, or none")
    if len(unpacked) > max_bytes:
        raise UnpackedTooLargeError(f"the unpacked body has more than {max_bytes} bytes: send smaller batches")
    return unpacked


def _inflate(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    machine = zlib.decompressobj(window_bits)
    try:
        unpacked = machine.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise UndecodableError(f"the body cannot be unpacked: {error}") from None
    if len(unpacked) <= max_bytes and (not machine.eof or machine.unused_data):
        raise UndecodableError("the body cannot be unpacked: it ends too early, or goes on after its end")
    return unpacked


def from_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Raises `UndecodableError`."""
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise UndecodableError("the body is no ExportTraceServiceRequest in protobuf") from None


def from_json(body: bytes) -> ExportTraceServiceRequest:
    """Raises `UndecodableError`."""
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise UndecodableError('the body is no JSON object: expected {"resourceSpans": [...]}')
        return ParseDict(_with_base64_ids(document), ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, TypeError, RecursionError, ParseError) as error:
        raise UndecodableError(f"the body is no ExportTraceServiceRequest in JSON: {str(error)[:300]}") from None


def _with_base64_ids(document: dict[str, Any]) -> dict[str, Any]:
    """Ids stand in spans and in their links only; what attributes hold is left alone."""
    for resource in _objects(document, "resourceSpans", "resource_spans"):
        for scope in _objects(resource, "scopeSpans", "scope_spans"):
            for span in _objects(scope, "spans"):
                _recode(span)
                for link in _objects(span, "links"):
                    _recode(link)
    return document


def _objects(parent: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    found: object = next((parent[name] for name in names if parent.get(name)), [])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _recode(holder: dict[str, Any]) -> None:
    for name in _ID_FIELDS & holder.keys():
        if holder[name]:
            try:
                holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
            except (TypeError, ValueError, binascii.Error):
                raise UndecodableError(f"{name} is {str(holder[name])[:80]!r}: expected hexadecimal digits") from None
