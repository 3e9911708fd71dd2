"""Query parameters → the structs a reader takes. Pure; a wrong value raises FieldError, which names the field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge_app.api.rendering import FIELDS
from bridge_app.problems import FieldError
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status

if TYPE_CHECKING:
    from collections.abc import Sequence


def nanoseconds(field: str, text: str | None) -> int | None:
    """An RFC 3339 time as nanoseconds since the epoch; None where there is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + arrives as a space
    except ValueError:
        moment = None
    if moment is None or len(text) < len("2025-06-06T14:33"):
        raise FieldError(f"is {text!r}: expected an RFC 3339 time, such as 2025-06-06T14:33:48Z", field=field)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000


def execution_filter(  # noqa: PLR0913 - each is a separate fact, named at the call
    *,
    plugin: Sequence[str] | None,
    status: Sequence[str] | None,
    error_type: Sequence[str] | None,
    trace_id: str | None,
    delivery_id: str | None,
    start_time: str | None,
    end_time: str | None,
    tags: Sequence[str] | None,
) -> ExecutionFilter:
    """All filters of the history's list."""
    return ExecutionFilter(
        plugins=tuple(plugin or ()),
        statuses=tuple(Status(one) for one in _known("status", status, [s.value for s in Status])),
        error_types=_known("error_type", error_type, ERROR_TYPES),
        trace_id=_trace_id(trace_id),
        delivery_id=delivery_id or "",
        started_from=nanoseconds("start_time", start_time),
        started_before=nanoseconds("end_time", end_time),
        tags=tuple(_tag(one) for one in tags or ()),
    )


def chosen_fields(text: str | None) -> tuple[str, ...]:
    """`fields=id,status` as names; empty means all."""
    return _known("fields", [text] if text else (), FIELDS)


def _known(field: str, values: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise FieldError(f"is {name!r}: expected one of {', '.join(known)}", field=field)
    return names


def _trace_id(text: str | None) -> str:
    if not text:
        return ""
    value = text.replace("-", "").lower()
    if len(value) != 32 or not set(value) <= set("0123456789abcdef"):
        raise FieldError(f"is {text!r}: expected 32 hexadecimal digits", field="trace_id")
    return value


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name:
        raise FieldError(f"is {text!r}: expected name:value, such as job_id:job-123", field="tags")
    return name, value
