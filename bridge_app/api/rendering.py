"""Domain structs → the JSON shapes of the REST contract. Pure.

Times become RFC 3339 in UTC with microseconds where there are any; durations stay nanoseconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otel_tracker.record import ExecutionRecord, Status, StorageInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_tracker.query import Page, PageRequest

encode_json: Final = msgspec.json.Encoder().encode


def rfc3339(nanoseconds: int | None) -> str | None:
    """`1749220428123456789` → `2025-06-06T14:33:48.123456Z`; whole seconds have no fraction; None stays None."""
    if nanoseconds is None:
        return None
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    micros = rest // 1000
    return f"{whole}.{micros:06d}Z" if micros else f"{whole}Z"


def execution_json(record: ExecutionRecord) -> dict[str, Any]:
    """One ExecutionRecord as REST shows it."""
    return {
        "id": record.id,
        "plugin_name": record.plugin_name,
        "http_method": record.http_method,
        "start_time": rfc3339(record.start_time),
        "end_time": rfc3339(record.end_time),
        "status": record.status.value,
        "input": record.input,
        "output": record.output,
        "error": record.error,
        "error_type": record.error_type,
        "duration": record.duration,
        "attempts": record.attempts,
        "retry_count": record.retry_count,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id,
        "delivery_id": record.delivery_id,
        "user_agent": record.user_agent,
        "remote_ip": record.remote_ip,
        "tags": record.tags,
        "metadata": record.metadata,
        "traceback": record.traceback,
        "logs": record.logs,
        "instance_id": record.instance_id,
        "created_at": rfc3339(record.created_at),
        "updated_at": rfc3339(record.updated_at),
    }


FIELDS: Final = tuple(execution_json(ExecutionRecord(id="", plugin_name="", status=Status.PENDING, start_time=0)))
PAYLOAD_FIELDS: Final = frozenset({"input", "output", "metadata", "traceback", "logs"})
"""What lives in the payload table: a list that names none of these never reads it."""


def page_json(page: Page, request: PageRequest, fields: Sequence[str] = ()) -> dict[str, Any]:
    """A page of the history; `fields` narrows each record to these."""
    records = [execution_json(record) for record in page.executions]
    if fields:
        records = [{name: record[name] for name in fields} for record in records]
    return {
        "executions": records,
        "total": page.total,
        "total_relation": "eq" if page.total_is_exact else "gte",
        "limit": request.limit,
        "offset": request.offset,
        "next_cursor": page.next_cursor or None,
    }


def storage_json(info: StorageInfo) -> dict[str, Any]:
    """What is said of the store."""
    return {
        **msgspec.structs.asdict(info),
        "oldest_record": rfc3339(info.oldest_record),
        "newest_record": rfc3339(info.newest_record),
    }
