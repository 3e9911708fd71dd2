"""A delivery's raw bytes as the data that a plugin sees.

In: the body, its content type, the query. Out: `Parsed(data, kind)`: the JSON value, the form as a dict, the text, or
(for an empty body) the query as a dict. JSON is parsed once, from the raw bytes, by msgspec. Whatever the bytes,
the only exception is `BodyError`. Never reads a stream, never changes the bytes (signatures are checked over them).

Choices: one UTF-8 byte order mark before JSON is accepted (.NET senders write it; RFC 8259 section 8.1 allows to ignore
it). `curl -d '{...}'` says `application/x-www-form-urlencoded`: a form that is a JSON object or array is JSON.
Repeated names become lists, in forms and queries. An uploaded file becomes
`{"filename", "content_type", "size", "content_base64"}`. Sources: RFC 8259, RFC 7578, WHATWG URL (forms).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from email.message import Message
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from bridge_app.problems import BodyError, UnsupportedBodyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_DEPTH: Final = 64
MAX_FIELDS: Final = 1000
_BOM: Final = b"\xef\xbb\xbf"
# An unterminated string runs to the end: the match never fails late, so the scan stays linear.
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*\\?(?:"|\Z)', re.DOTALL)
# A first half that no second one follows (nor might, had the text not been cut), or a second half alone.
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?:u[0-9a-fA-F]{0,3})?\Z|\Z)"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class BodyKind(StrEnum):
    """What a body turned out to be."""

    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    TEXT = "text"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A body as data."""

    data: Any
    kind: BodyKind


def parse_body(body: bytes, *, content_type: str, query: Sequence[tuple[str, str]]) -> Parsed:
    """Read a body as its content type says; "" means that the sender named none. Raises `BodyError` only.

    >>> parse_body(b'{"key": "value"}', content_type="application/json", query=()).data
    {'key': 'value'}
    """
    if not body:
        return Parsed(collect(query), BodyKind.EMPTY)
    media_type, parameters = _read_content_type(content_type)
    _check_charset(parameters)
    if media_type == "application/json" or media_type.endswith("+json"):
        return Parsed(parse_json(body), BodyKind.JSON)
    match media_type:
        case "application/x-www-form-urlencoded":
            return _parse_form(body)
        case "multipart/form-data":
            return Parsed(_parse_multipart(body, boundary=parameters.get("boundary", "")), BodyKind.MULTIPART)
        case "" if _looks_like_json(body):
            return Parsed(parse_json(body), BodyKind.JSON)
        case _ if _is_text(media_type):
            return Parsed(_decode(body), BodyKind.TEXT)
    raise UnsupportedBodyError(
        f"The content type {media_type!r} is not read here: send application/json, application/x-www-form-urlencoded, "
        "multipart/form-data or text/*."
    )


def parse_json(body: bytes) -> Any:
    """One JSON value, at most 64 levels deep. Raises `BodyError`."""
    text = body.removeprefix(_BOM)
    if nests_deeper_than(text, limit=MAX_DEPTH):
        raise BodyError(f"The JSON body nests deeper than {MAX_DEPTH} levels: send a flatter document.")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # The decoder calls half a pair truncated input. Escaped backslashes are no beginning of an escape.
        if half := _LONE_SURROGATE.search(body.replace(rb"\\", b"__")):
            raise BodyError(
                f"The JSON body holds {half[0].decode()} alone (byte {half.start()}): it is half of a UTF-16 surrogate "
                r"pair, no character. Send both halves, such as \ud83d\ude00, or \ufffd in its place."
            ) from None
        raise BodyError(f"The body is not valid JSON: {error}") from None


def nests_deeper_than(text: bytes, *, limit: int) -> bool:
    """Whether arrays and objects nest deeper than `limit`. Almost every body is settled by counting its brackets."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    depth = 0
    for byte in _STRING.sub(b"", text).translate(None, _NOT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > limit:
            return True
    return False


def parse_query(query_string: bytes) -> list[tuple[str, str]]:
    """The pairs of a query string, in order; bytes that are no UTF-8 become U+FFFD. Raises `BodyError` beyond 1000."""
    try:
        return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BodyError(f"The query has more than {MAX_FIELDS} fields.") from None


def headers_as_dict(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """ASGI headers by lower-case name; repeated ones are joined by ", " as RFC 9110 section 5.3 allows."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs as a dict; a name that comes more than once gets the list of its values, in order."""
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _read_content_type(content_type: str) -> tuple[str, dict[str, str]]:
    if not content_type.strip():
        return "", {}
    if content_type.strip().lower() == "application/json":
        return "application/json", {}
    message = Message()
    try:
        message["content-type"] = content_type
        found = message.get_params(failobj=[], unquote=True)
        (media_type, _), *parameters = found
        return media_type.strip().lower(), {name.lower(): str(value) for name, value in parameters}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UnsupportedBodyError(f"The content type {content_type[:200]!r} cannot be understood.") from None


def _check_charset(parameters: dict[str, str]) -> None:
    charset = parameters.get("charset", "utf-8").strip().lower()
    if charset not in _UTF8:
        raise UnsupportedBodyError(f"The charset {charset[:40]!r} is not read here: send the body as UTF-8.")


def _is_text(media_type: str) -> bool:
    return media_type in {"", "application/xml"} or media_type.startswith("text/") or media_type.endswith("+xml")


def _looks_like_json(body: bytes) -> bool:
    return body[:64].removeprefix(_BOM).lstrip(b" \t\r\n")[:1] in {b"{", b"["}


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyError(f"The body is not valid UTF-8: byte {error.start} cannot be decoded.") from None


def _parse_form(body: bytes) -> Parsed:
    if _looks_like_json(body):
        try:
            return Parsed(parse_json(body), BodyKind.JSON)
        except BodyError:
            pass  # a form may begin with a bracket; then it is read as the form that it says it is
    try:
        pairs = parse_qsl(_decode(body), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise BodyError("The form holds percent-encoded bytes that are not UTF-8.") from None
    except ValueError:
        raise BodyError(f"The form has more than {MAX_FIELDS} fields.") from None
    return Parsed(collect(pairs), BodyKind.FORM)


def _parse_multipart(body: bytes, *, boundary: str) -> dict[str, Any]:
    if not boundary:
        raise BodyError("The content type multipart/form-data names no boundary.")
    try:
        return collect(_read_parts(body, boundary=boundary))
    except (MultipartError, ValueError, LookupError, AssertionError) as error:
        raise BodyError(f"The body is not valid multipart/form-data: {error}") from None


def _read_parts(body: bytes, *, boundary: str) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    content = bytearray()
    segment: MultipartSegment | None = None
    with PushMultipartParser(boundary, content_length=len(body), max_segment_count=MAX_FIELDS) as parser:
        for event in (*parser.parse(body), *parser.parse(b"")):
            if isinstance(event, MultipartSegment):
                segment = event
            elif event:
                content += event
            elif segment is not None:
                parts.append((segment.name, _part_value(segment, bytes(content))))
                content.clear()
    return parts


def _part_value(segment: MultipartSegment, content: bytes) -> Any:
    if not segment.filename:
        return _decode(content)
    return {
        "filename": segment.filename,
        "content_type": segment.content_type or "application/octet-stream",
        "size": len(content),
        "content_base64": base64.b64encode(content).decode("ascii"),
    }
