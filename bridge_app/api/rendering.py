"""Domain structs → the shapes of the REST contract, and shapes → JSON. Pure.

Times become RFC 3339 in UTC with microseconds where there are any; durations stay nanoseconds. The `*_json` functions
give the same as dicts, for the command line.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import asdict

from bridge_app.api import shapes
from bridge_app.growth import days_until_full

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bridge_app.accounting import Accounting
    from bridge_app.plugins.registry import PluginInfo
    from bridge_app.store_watch import Seen
    from otel_tracker.query import LastCleanup
    from otel_tracker.record import ExecutionRecord, SpanRecord, StorageInfo
    from otel_tracker.stats import ExecutionStats

encode_json: Final = msgspec.json.Encoder().encode
FIELDS: Final = shapes.ExecutionRecord.__struct_fields__
PAYLOAD_FIELDS: Final = frozenset({"input", "output", "metadata", "traceback", "logs"})
"""What lives in the payload table: a list that names none of these never reads it."""


def needs_payloads(fields: Collection[str]) -> bool:
    """Whether records narrowed to these fields need the payload table; no field means all of them."""
    return not fields or not PAYLOAD_FIELDS.isdisjoint(fields)


def rfc3339(nanoseconds: int) -> str:
    """`1749220428123456789` → `2025-06-06T14:33:48.123456Z`; whole seconds have no fraction."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    micros = rest // 1000
    return f"{whole}.{micros:06d}Z" if micros else f"{whole}Z"


def execution(record: ExecutionRecord) -> shapes.ExecutionRecord:
    """One record as REST shows it."""
    return shapes.ExecutionRecord(
        id=record.id,
        plugin_name=record.plugin_name,
        http_method=record.http_method,
        start_time=rfc3339(record.start_time),
        end_time=_optional(record.end_time),
        status=record.status,
        input=record.input,
        output=record.output,
        error=record.error,
        error_type=record.error_type,
        duration=record.duration,
        attempts=record.attempts,
        retry_count=record.retry_count,
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=record.parent_span_id,
        delivery_id=record.delivery_id,
        user_agent=record.user_agent,
        remote_ip=record.remote_ip,
        tags=record.tags,
        metadata=record.metadata,
        traceback=record.traceback,
        logs=record.logs,
        instance_id=record.instance_id,
        created_at=rfc3339(record.created_at),
        updated_at=rfc3339(record.updated_at),
        payload_deleted=record.payload_deleted,
    )


def shown(records: Iterable[ExecutionRecord], fields: Sequence[str]) -> Iterator[Any]:
    """Records as REST shows them: whole, or as dicts of these fields in this order."""
    whole = map(execution, records)
    return ({name: getattr(record, name) for name in fields} for record in whole) if fields else whole


def execution_json(record: ExecutionRecord) -> dict[str, Any]:
    """`execution` as a dict."""
    return asdict(execution(record)) | {"status": record.status.value}


def plugin_stats(plugin: str, stats: ExecutionStats, realtime: Mapping[str, Any]) -> shapes.PluginStats:
    """Stored statistics and realtime figures of one plugin."""
    figures = msgspec.convert(realtime, shapes.RealtimeFigures)
    return shapes.PluginStats(plugin=plugin, realtime=figures, **asdict(stats))


def span(record: SpanRecord) -> shapes.Span:
    """One child span."""
    values = asdict(record)
    del values["span"]
    values |= {"start_time": rfc3339(record.start_time), "end_time": rfc3339(record.end_time)}
    return shapes.Span(duration=record.end_time - record.start_time, **values)


def storage_json(info: StorageInfo) -> dict[str, Any]:
    """The fields of `shapes.StorageInfo`."""
    return {
        **asdict(info),
        "oldest_record": _optional(info.oldest_record),
        "newest_record": _optional(info.newest_record),
    }


def storage_state(
    info: StorageInfo,
    spool: Mapping[str, Any],
    *,
    seen: Seen,
    last_cleanup: LastCleanup | None,
    accounting: Accounting | None,
) -> shapes.StorageState:
    """The store, what was seen of it over time, its spool, and where the executions are."""
    cleanup = last_cleanup
    return shapes.StorageState(
        **storage_json(info),
        spool=msgspec.convert(spool, shapes.Spool),
        tables=seen.tables,
        growth_per_day=seen.growth_per_day,
        days_until_full=days_until_full(info.free_bytes, seen.growth_per_day),
        last_cleanup=shapes.Cleanup(**(asdict(cleanup) | {"time": rfc3339(cleanup.time)})) if cleanup else None,
        accounting=accounting,
    )


def plugin(info: PluginInfo) -> shapes.Plugin:
    """What is said of a plugin."""
    return shapes.Plugin(
        name=info.name,
        path=str(info.path),
        methods=list(info.methods),
        state=info.state.value,
        error=info.error,
        loaded_at=rfc3339(info.loaded_at) if info.loaded_at else None,
        doc=info.doc,
        note=info.note,
    )


def plugin_json(info: PluginInfo) -> dict[str, Any]:
    """`plugin` as a dict."""
    return asdict(plugin(info))


def _optional(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else rfc3339(nanoseconds)
