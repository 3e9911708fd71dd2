"""The parameters of Jaeger's search → what to look for in the history. Pure; a wrong value raises FieldError.

As Jaeger does, an empty parameter is one that was not given, and an unknown one is ignored: its UI sends both.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace
from opentelemetry.semconv.attributes.otel_attributes import OTEL_STATUS_CODE
from opentelemetry.semconv.trace import SpanAttributes

from bridge_app.api.filters import MAX_TAGS, execution_filter
from bridge_app.api.times import duration
from bridge_app.problems import FieldError
from otel_tracker import conventions as names
from otel_tracker.query import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1500
MAX_TRACE_IDS: Final = 100
OPERATION_PREFIX: Final = "execute "
LOOKBACK: Final = 2 * 86_400 * 1_000_000_000
"""How far back a search without `start` goes: two days, as in Jaeger."""
_MAX: Final = 2**63 - 1
_FAILED: Final = "failed,timeout,canceled"
_NOT_FAILED: Final = "completed,running,pending"
_WHOLE: Final = re.compile(r"[0-9]{1,16}")
_SEARCHED_AS: Final = {
    names.PLUGIN_NAME: "plugin",
    names.STATUS: "status",
    names.ERROR_TYPE: "error_type",
    names.DELIVERY_ID: "delivery_id",
}
"""Span attributes that the history has an index for."""
_KNOWN: Final = {one.name for one in names.ATTRIBUTES} | {"span.kind", SpanAttributes.HTTP_STATUS_CODE}
_NOT_SEARCHED: Final = _KNOWN - _SEARCHED_AS.keys()


class JaegerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search."""

    filter: ExecutionFilter | None
    """None: nothing can match."""
    limit: int
    """Traces."""
    trace_ids: tuple[str, ...] = ()
    """Instead of a search: these traces."""


def jaeger_query(given: Mapping[str, Sequence[str]], *, service: str, now: int) -> JaegerQuery:
    """All parameters of `/api/traces`, as their texts. `service` is the one there is; `now` is in nanoseconds."""
    first = {name: next((value for value in values if value), "") for name, values in given.items()}
    get = first.get
    limit = _whole("limit", get("limit", ""), DEFAULT_LIMIT)
    trace_ids = tuple(padded_trace_id("traceID", one) for one in given.get("traceID", ()) if one)
    if len(trace_ids) > MAX_TRACE_IDS:
        raise FieldError(f"was given {len(trace_ids)} times: expected at most {MAX_TRACE_IDS}", field="traceID")
    if trace_ids:
        return JaegerQuery(filter=None, limit=len(trace_ids), trace_ids=trace_ids)
    if not get("service"):
        raise FieldError("is missing: expected a name of /api/services, or a traceID", field="service")
    shortest, longest = (_duration(name, get(name, "")) for name in ("minDuration", "maxDuration"))
    if shortest and longest and shortest > longest:
        raise FieldError("is shorter than minDuration", field="maxDuration")
    operation = get("operation", "")
    found = replace(
        _filter(_tags(given.get("tag", ()), given.get("tags", ()))),
        started_from=min(_MAX, _whole("start", get("start", ""), (now - LOOKBACK) // 1000) * 1000),
        started_before=min(_MAX, (_whole("end", get("end", ""), now // 1000) + 1) * 1000),
        min_duration=shortest,
        max_duration=longest,
    )
    if operation:
        found = replace(found, plugins=(operation.removeprefix(OPERATION_PREFIX),))
    is_ours = get("service") == service and (not operation or operation.startswith(OPERATION_PREFIX))
    return JaegerQuery(filter=found if is_ours else None, limit=min(max(limit, 1), MAX_LIMIT))


def padded_trace_id(field: str, text: str) -> str:
    """As it is stored, 32 digits: Jaeger leaves leading zeros out."""
    value = text.lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", value):
        raise FieldError(f"is {text[:80]!r}: expected up to 32 hexadecimal digits", field=field)
    return value.rjust(32, "0")


def _filter(tags: Mapping[str, str]) -> ExecutionFilter:
    wanted: dict[str, Any] = {}
    own = []
    for name, value in tags.items():
        if name in {"error", OTEL_STATUS_CODE}:
            wanted["status"] = [_FAILED if value.lower() in {"true", "error"} else _NOT_FAILED]
        elif name in _SEARCHED_AS:
            field = _SEARCHED_AS[name]
            wanted[field] = value if field == "delivery_id" else [value]
        elif name in _NOT_SEARCHED:
            raise FieldError(
                f"has {name}: of span attributes only error, {', '.join(_SEARCHED_AS)} can be searched for; any other "
                "name is a tag of the execution",
                field="tags",
            )
        else:
            own.append(f"{name}:{value}")
    if len(own) > MAX_TAGS:
        raise FieldError(f"has {len(own)} tags: expected at most {MAX_TAGS}", field="tags")
    return execution_filter(now=0, tags=own, **wanted)


def _duration(name: str, text: str) -> int | None:
    """As Go writes it: `1.2s`, `100ms`, `500us` or `500µs`. A number alone has no unit, but 0."""
    text = text.replace("\N{MICRO SIGN}s", "us").replace("\N{GREEK SMALL LETTER MU}s", "us")
    if text.isdecimal() and int(text):
        raise FieldError(f"is {text[:80]!r}: the unit is missing, as in 100ms", field=name)
    return (duration(name, text) or None) if text else None


def _tags(simple: Sequence[str], as_json: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in filter(None, simple):
        name, colon, value = text.partition(":")
        if not colon:
            raise FieldError(f"is {text[:80]!r}: expected name:value", field="tag")
        found[name] = value
    for text in filter(None, as_json):
        found |= _tag_object(text)
    return found


def _tag_object(text: str) -> dict[str, str]:
    try:
        return msgspec.convert(json.loads(text), dict[str, str])
    except (ValueError, RecursionError, msgspec.ValidationError):
        raise FieldError(
            f'is {text[:80]!r}: expected a JSON object of texts, such as {{"error": "true"}}', field="tags"
        ) from None


def _whole(field: str, text: str, otherwise: int) -> int:
    if not text:
        return otherwise
    if not _WHOLE.fullmatch(text):
        raise FieldError(f"is {text[:80]!r}: expected a whole number", field=field)
    return int(text)
