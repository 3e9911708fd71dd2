"""record_from_span and child_from_span: a span → the row that the history keeps, or None. Pure; they never raise.

A span is an execution when it carries `otel_tracker.execution.id`; it is a child when it carries
`otel_tracker.execution.parent_id`; everything else is not ours. A span without an end time is a running execution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode

from otel_tracker import conventions as names
from otel_tracker import span_facts
from otel_tracker.capture import capture
from otel_tracker.failsafe import failsafe
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status
from otel_tracker.redaction import Redactor
from otel_tracker.spans import ExecutionSpan, given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

_STATUSES = {status.value: status for status in Status}
_MAX_CHILD_BYTES: Final = 65_536
"""Of a child span's attributes, and of its events."""
_redactor: Final = Redactor()


def record_from_span(span: ReadableSpan) -> ExecutionRecord | None:
    """The execution that this span is, running or ended; None where it is none."""
    try:
        return _record(span)
    except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
        failsafe.caught("conversion.record_from_span", error)
        return None


def child_from_span(span: ReadableSpan) -> SpanRecord | None:
    """The finished child span of an execution; None where it is none."""
    try:
        return _child(span)
    except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
        failsafe.caught("conversion.child_from_span", error)
        return None


def _record(span: ReadableSpan) -> ExecutionRecord | None:
    attributes = _attributes(span)
    execution_id = attributes.get(names.EXECUTION_ID)
    context = span.context
    if not isinstance(execution_id, str) or context is None:
        return None
    get = attributes.get
    start, end = span.start_time or 0, span.end_time
    status = _status(span, get(names.STATUS))
    attempts = get(names.ATTEMPTS, 1)
    plugin_name = get(names.PLUGIN_NAME) or span.name
    return ExecutionRecord(
        id=execution_id,
        plugin_name=plugin_name,
        status=status,
        start_time=start,
        end_time=end,
        rank=Rank.RUNNING if end is None else Rank.ENDED,
        http_method=get(names.HTTP_REQUEST_METHOD, ""),
        input=get(names.INPUT, ""),
        output=get(names.OUTPUT, ""),
        error=get(names.ERROR) or (span.status.description or "" if status is not Status.COMPLETED else ""),
        error_type=get(names.ERROR_TYPE, ""),
        duration=0 if end is None else get(names.DURATION, end - start),
        attempts=attempts,
        retry_count=attempts - 1,
        trace_id=format(context.trace_id, "032x"),
        span_id=format(context.span_id, "016x"),
        parent_span_id=format(span.parent.span_id, "016x") if span.parent else "",
        user_agent=get(names.USER_AGENT_ORIGINAL, ""),
        remote_ip=get(names.CLIENT_ADDRESS, ""),
        tags=get(names.TAGS, "{}"),
        metadata=get(names.METADATA, "{}"),
        traceback=get(names.TRACEBACK, ""),
        logs=get(names.LOGS, ""),
        instance_id=get(names.INSTANCE_ID, ""),
        delivery_id=get(names.DELIVERY_ID, ""),
        created_at=start,
        updated_at=end or start,
        span=span_facts.of_execution(span, attributes, usual_name=f"execute {plugin_name}"),
    )


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.settle() if type(span) is ExecutionSpan else given(span)  # isinstance asks the class for 1 µs


def _status(span: ReadableSpan, given: object) -> Status:
    if span.end_time is None:
        return Status.RUNNING
    if isinstance(given, str) and given in _STATUSES:
        return _STATUSES[given]
    return Status.FAILED if span.status.status_code is StatusCode.ERROR else Status.COMPLETED


def _child(span: ReadableSpan) -> SpanRecord | None:
    attributes = _attributes(span)
    execution_id = attributes.get(names.PARENT_EXECUTION_ID)
    context = span.context
    if not isinstance(execution_id, str) or context is None or span.end_time is None:
        return None
    events = [{"name": e.name, "time": e.timestamp, "attributes": dict(e.attributes or {})} for e in span.events]
    return SpanRecord(
        execution_id=execution_id,
        trace_id=format(context.trace_id, "032x"),
        span_id=format(context.span_id, "016x"),
        parent_span_id=format(span.parent.span_id, "016x") if span.parent else "",
        name=span.name,
        kind=span.kind.name.lower(),
        start_time=span.start_time or 0,
        end_time=span.end_time,
        status=span.status.status_code.name.lower(),
        error=span.status.description or "",
        attributes=child_attributes(attributes),
        events=child_events(events),
        span=span_facts.of_child(span),
    )


def child_attributes(attributes: Mapping[str, Any]) -> str:
    """As a child's record has them: JSON, bounded, redacted."""
    if names.PARENT_EXECUTION_ID in attributes:
        attributes = {key: value for key, value in attributes.items() if key != names.PARENT_EXECUTION_ID}
    return _json(attributes)


def child_events(events: Sequence[Mapping[str, Any]]) -> str:
    """The same of its events, `{"name", "time", "attributes"}`."""
    if not events:
        return "[]"
    text = _json(events)
    return text if text.startswith("[") else f"[{text}]"  # the notice that they were cut


def _json(value: object) -> str:
    """Whatever code around us put on its spans: bounded, redacted, safe, as an input would be."""
    return capture(value, max_bytes=_MAX_CHILD_BYTES, redactor=_redactor).text
