"""Rows of a trace → the waterfall that REST shows. Pure; `now` is what running executions are measured to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bridge_app import links
from bridge_app.analysis.waterfall import Bar, Timed, waterfall
from bridge_app.api.rendering import encode_json, rfc3339
from bridge_app.api.trace_shapes import CriticalSection, Trace, TraceSpan
from otel_tracker import span_facts
from otel_tracker.record import ExecutionRecord, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_tracker.query import TraceRows
    from otel_tracker.record import Row

_WELL: Final = frozenset({Status.COMPLETED, Status.RUNNING, Status.PENDING})


def trace(rows: TraceRows, *, templates: Mapping[str, str], now: int) -> Trace:
    """The waterfall of at least one execution. `now` is in nanoseconds since the epoch."""
    by_id = {record.id: record for record in rows.executions}
    found: Sequence[Row] = [*rows.executions, *rows.spans]
    made = waterfall([_timed(row, by_id, now) for row in found])
    first = next(row for bar in made.bars if isinstance(row := found[bar.index], ExecutionRecord))
    return Trace(
        trace_id=first.trace_id,
        start_time=rfc3339(made.start),
        duration=made.duration,
        executions=len(rows.executions),
        is_whole=rows.is_whole,
        links=execution_links(first, templates),
        spans=[_span(found[bar.index], bar, by_id) for bar in made.bars],
        critical_path=[
            CriticalSection(span_id=found[one.index].span_id, offset=one.offset, duration=one.duration)
            for one in made.critical_path
        ],
    )


def execution_links(record: ExecutionRecord, templates: Mapping[str, str]) -> dict[str, str]:
    """The configured links, to this execution."""
    values = {
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "execution_id": record.id,
        "plugin": record.plugin_name,
    }
    return links.filled(templates, values)


def _timed(row: Row, executions: Mapping[str, ExecutionRecord], now: int) -> Timed:
    """A child whose parent was not kept hangs below the execution that it belongs to."""
    owner = executions.get(row.execution_id) if isinstance(row, SpanRecord) else None
    return Timed(
        span_id=row.span_id,
        parent_span_id=row.parent_span_id,
        start=row.start_time,
        end=now if row.end_time is None else row.end_time,
        owner_span_id=owner.span_id if owner else "",
    )


def _span(row: Row, bar: Bar, executions: Mapping[str, ExecutionRecord]) -> TraceSpan:
    own = _of_execution(row) if isinstance(row, ExecutionRecord) else _of_child(row, executions)
    return TraceSpan(
        span_id=row.span_id,
        parent_span_id=row.parent_span_id,
        error=row.error,
        start_time=rfc3339(row.start_time),
        end_time=None if row.end_time is None else rfc3339(row.end_time),
        depth=bar.depth,
        offset=bar.offset,
        duration=bar.duration,
        self_time=bar.self_time,
        critical_time=bar.critical_time,
        on_critical_path=bar.critical_time > 0,
        is_parent_missing=bar.is_parent_missing,
        **own,
    )


def _of_execution(record: ExecutionRecord) -> dict[str, Any]:
    facts = span_facts.read(record.span)
    return {
        "execution_id": record.id,
        "plugin_name": record.plugin_name,
        "execution_status": record.status.value,
        "name": facts.name or f"execute {record.plugin_name}",
        "kind": facts.kind,
        "status": "unset" if record.status in _WELL else "error",
        "attributes": encode_json(facts.attributes).decode(),
        "events": encode_json(facts.events).decode(),
    }


def _of_child(record: SpanRecord, executions: Mapping[str, ExecutionRecord]) -> dict[str, Any]:
    owner = executions.get(record.execution_id)
    return {
        "execution_id": record.execution_id,
        "plugin_name": owner.plugin_name if owner else "",
        "execution_status": "",
        "name": record.name,
        "kind": record.kind,
        "status": record.status,
        "attributes": record.attributes,
        "events": record.events,
    }
