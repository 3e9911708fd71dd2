"""A span that a worker sent, as the child span of the execution that it ran. Pure.

In: the JSON of `plugins.worker_spans`, from a process that a plugin may have made say anything. Out: a span as
OpenTelemetry's SDK has them, for the same exporter as every other span. Raises ValueError for what is none.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_tracker.conventions import PARENT_EXECUTION_ID

_NO_RESOURCE: Final = Resource({})  # without one the SDK makes its own, for 600 µs a span


class _Event(msgspec.Struct):
    name: str
    time: int
    attributes: dict[str, Any]


class _Link(msgspec.Struct):
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class _Told(msgspec.Struct):
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    flags: int
    state: str
    start_time: int
    end_time: int
    status: str
    error: str
    attributes: dict[str, Any]
    events: list[_Event]
    links: list[_Link]


def child_span(payload: bytes, *, execution_id: str) -> ReadableSpan:
    """The ended span that the worker told of. Raises ValueError."""
    try:
        told = msgspec.convert(json.loads(payload), _Told)  # NaN is allowed in there: msgspec's own reader refuses it
        return _span(told, execution_id)
    except (KeyError, RecursionError, OverflowError) as error:
        raise ValueError(f"the worker sent a span that cannot be read: {error!r}") from error


def _span(told: _Told, execution_id: str) -> ReadableSpan:
    state = TraceState.from_header([told.state]) if told.state else None
    own = SpanContext(
        int(told.trace_id, 16), int(told.span_id, 16), is_remote=False, trace_flags=TraceFlags(told.flags & 0xFF),
        trace_state=state,
    )  # fmt: skip
    return ReadableSpan(
        told.name,
        context=own,
        # Not called remote although another process made it: both are this program's, and show as one service.
        parent=SpanContext(own.trace_id, int(told.parent_span_id, 16), is_remote=False)
        if told.parent_span_id
        else None,
        attributes={**told.attributes, PARENT_EXECUTION_ID: execution_id},
        events=[Event(event.name, event.attributes, event.time) for event in told.events],
        links=[
            Link(SpanContext(int(link.trace_id, 16), int(link.span_id, 16), is_remote=True), link.attributes)
            for link in told.links
        ],
        resource=_NO_RESOURCE,
        kind=SpanKind[told.kind],
        status=Status(StatusCode[told.status], told.error if told.status == "ERROR" else None),
        start_time=told.start_time,
        end_time=told.end_time,
    )
