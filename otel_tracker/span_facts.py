"""What a span says beyond the fixed fields of a record, as one JSON object in its `span`: kept, and read again. Pure.

    {"name": …, "kind": …, "flags": …, "state": …, "remote": true, "attributes": {…}, "events": […], "links": […]}

A key is there only where it says something: the name where it is not the usual one, the kind where it is not internal,
flags (W3C Trace Context 2, an integer) where they are not 1, the trace state where there is one, `remote` where the
parent span is another program's. Events are `{"name", "time", "attributes"}`, links `{"trace_id", "span_id", "state",
"attributes"}`. So an exporter can send the span as it was, long after it ended, from another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from opentelemetry.trace import SpanKind

from otel_tracker import conventions as names
from otel_tracker.capture import capture
from otel_tracker.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

MAX_BYTES: Final = 65_536
"""Of a span's attributes, of its events, and of its links."""
IN_FIELDS: Final = frozenset(
    {
        names.EXECUTION_ID, names.PLUGIN_NAME, names.STATUS, names.INPUT, names.OUTPUT, names.ERROR, names.TRACEBACK,
        names.LOGS, names.TAGS, names.METADATA, names.ATTEMPTS, names.INSTANCE_ID, names.DELIVERY_ID, names.DURATION,
        names.ERROR_TYPE, names.HTTP_REQUEST_METHOD, names.CLIENT_ADDRESS, names.USER_AGENT_ORIGINAL,
    }
)  # fmt: skip
"""Attributes that an execution's record has a field for."""
_OURS: Final = frozenset(
    {names.HTTP_RESPONSE_STATUS_CODE, names.HTTP_ROUTE, names.URL_PATH, names.URL_SCHEME, names.CODE_FUNCTION_NAME}
)
"""Attributes that our own code sets: small and safe."""
_SAMPLED: Final = 1
_encode = msgspec.json.Encoder().encode
_redactor: Final = Redactor()


class SpanLink(msgspec.Struct, frozen=True):
    """Another span that this one is about."""

    trace_id: str
    span_id: str
    state: str = ""
    attributes: dict[str, Any] = {}


class SpanEvent(msgspec.Struct, frozen=True):
    """A moment within a span."""

    name: str
    time: int
    """Nanoseconds since the epoch."""
    attributes: dict[str, Any] = {}


class SpanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The same, decoded."""

    name: str = ""
    kind: str = "internal"
    flags: int = _SAMPLED
    state: str = ""
    remote: bool = False
    attributes: dict[str, Any] = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []

    @property
    def is_sampled(self) -> bool:
        """Whether who began the trace wants it to be recorded elsewhere."""
        return bool(self.flags & _SAMPLED)


_decoder: Final = msgspec.json.Decoder(SpanFacts)
_NONE: Final = SpanFacts()


def read(text: str) -> SpanFacts:
    """Of a record's `span`; what is no such object, from whatever wrote it, says nothing."""
    if not text:
        return _NONE
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return _NONE


def of_execution(span: ReadableSpan, attributes: Mapping[str, Any], *, usual_name: str) -> str:
    """Of an execution's span."""
    rest = {name: value for name, value in attributes.items() if name not in IN_FIELDS}
    facts = _context(span)
    if span.name != usual_name:
        facts["name"] = span.name
    if span.kind is not SpanKind.INTERNAL:
        facts["kind"] = span.kind.name.lower()
    if rest:
        facts["attributes"] = rest if _OURS.issuperset(rest) else _bounded(rest, {})
    if span.events:
        facts["events"] = _bounded(
            [{"name": e.name, "time": e.timestamp, "attributes": dict(e.attributes or {})} for e in span.events], []
        )
    return _encode(facts).decode() if facts else ""


def of_child(span: ReadableSpan) -> str:
    """Of a child span, whose record has fields for the rest."""
    facts = _context(span)
    return _encode(facts).decode() if facts else ""


def of_parts(*, flags: int, state: str, remote: bool, links: Sequence[Mapping[str, Any]]) -> str:
    """Of a child span that never was a span of the SDK; links as they are kept."""
    if flags == _SAMPLED and not (state or remote or links):
        return ""
    return _encode(_parts(flags, state, links, remote=remote)).decode()


def _context(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    links = [
        {
            "trace_id": format(link.context.trace_id, "032x"),
            "span_id": format(link.context.span_id, "016x"),
            "state": link.context.trace_state.to_header() if link.context.trace_state else "",
            "attributes": dict(link.attributes or {}),
        }
        for link in span.links
    ]
    flags, state = _SAMPLED, ""
    if context is not None:
        flags, state = int(context.trace_flags), context.trace_state.to_header() if context.trace_state else ""
    return _parts(flags, state, links, remote=parent is not None and parent.is_remote)


def _parts(flags: int, state: str, links: Sequence[Mapping[str, Any]], *, remote: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if flags != _SAMPLED:
        facts["flags"] = flags
    if state:
        facts["state"] = state
    if remote:
        facts["remote"] = True
    if links:
        facts["links"] = _bounded(links, [])
    return facts


def _bounded(value: object, otherwise: object) -> object:
    """Whatever code around us put on its spans: bounded, redacted, safe, as an input would be.

    `otherwise` where it was too much: a cut text is no list and no object any more.
    """
    captured = capture(value, max_bytes=MAX_BYTES, redactor=_redactor)
    return otherwise if captured.truncated else msgspec.Raw(captured.text.encode())
