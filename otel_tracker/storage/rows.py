"""Records as tuples in column order and back, and the repair of a record that a database refuses. Pure.

A record that came through Python code, not through a decoder, may hold anything: wrong types raise here.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from otel_tracker.record import ExecutionRecord, Rank, Row, SpanRecord, Status
from otel_tracker.storage.buckets import Counted
from otel_tracker.storage.tables import executions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REPLACEMENT: Final = "\ufffd"
NAME_CHARACTERS: Final = 255
"""Of names, types, delivery ids, and of tags to filter by: what is longer is cut, the same in every database."""
ADDRESS_CHARACTERS: Final = 64
METHOD_CHARACTERS: Final = 16
_INT64_MAX: Final = 2**63 - 1
_STATUS_TEXT: Final[dict[str, str]] = {status: status.value for status in Status}
_RowT = TypeVar("_RowT", ExecutionRecord, SpanRecord)
# Plain tuples in the order of `Counted`, for they are unpacked at once: made by name they would cost twice as much.
_COUNTED: Final = itemgetter(*map(executions.columns.keys().index, Counted._fields))


class BadValueError(TypeError):
    """A value that no database should get: NUL in text, or not the type that the record declares."""


def execution_values(row: ExecutionRecord) -> tuple[object, ...]:
    """In the order of `tables.executions`."""
    integers = row.start_time | (row.end_time or 0) | row.duration | row.attempts | row.retry_count
    integers |= row.created_at | row.updated_at
    texts = (
        row.plugin_name, row.http_method, row.error, row.error_type, row.trace_id, row.span_id, row.parent_span_id,
        row.user_agent, row.remote_ip, row.tags, row.instance_id, row.delivery_id,
    )  # fmt: skip
    _check(row.id + "".join(texts), integers)
    return (
        row.id, int(row.rank), row.plugin_name[:NAME_CHARACTERS], _STATUS_TEXT[row.status], row.start_time,
        row.end_time, row.duration, row.http_method[:METHOD_CHARACTERS], row.error, row.error_type[:NAME_CHARACTERS],
        row.attempts, row.retry_count, row.trace_id, row.span_id, row.parent_span_id, row.user_agent,
        row.remote_ip[:ADDRESS_CHARACTERS], row.tags, row.instance_id[:ADDRESS_CHARACTERS],
        row.delivery_id[:NAME_CHARACTERS], row.created_at or row.start_time,
        row.updated_at or row.end_time or row.start_time, int(row.payload_deleted),
    )  # fmt: skip


def counted(values: tuple[object, ...]) -> Counted:
    """What the rollups count of a row of `execution_values`: as it is stored, not as it came."""
    return cast("Counted", _COUNTED(values))


def payload_values(row: ExecutionRecord) -> tuple[object, ...]:
    """In the order of `tables.payloads`."""
    texts = f"{row.input}{row.output}{row.traceback}{row.logs}{row.metadata}{row.span}"
    _check(texts, 0)
    return (
        row.id, int(row.rank), _size(texts), row.input, row.output, row.traceback, row.logs, row.metadata, row.span,
    )  # fmt: skip


def span_values(row: SpanRecord) -> tuple[object, ...]:
    """In the order of `tables.spans`."""
    parts = (
        row.execution_id, row.span_id, row.trace_id, row.parent_span_id, row.name, row.kind, row.status, row.error,
        row.attributes, row.events, row.span,
    )  # fmt: skip
    texts = "".join(parts)
    _check(texts, row.start_time | row.end_time)
    return (
        row.execution_id, row.span_id, _size(texts), row.trace_id, row.parent_span_id, row.name, row.kind,
        row.start_time, row.end_time, row.status, row.error, row.attributes, row.events, row.span,
    )  # fmt: skip


def total(rows: Iterable[tuple[object, ...]], column: int) -> int:
    """The sum of a column of integers."""
    return sum(cast("int", row[column]) for row in rows)


def tag_pairs(text: str) -> list[tuple[str, str]]:
    """The tags of a JSON object; what is no object of scalars has none to filter by."""
    if text in ("{}", ""):
        return []
    try:
        tags = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return []
    if not isinstance(tags, dict):
        return []
    texts = {name: value if isinstance(value, str) else _scalar_text(value) for name, value in tags.items()}
    return list({name[:NAME_CHARACTERS]: value[:NAME_CHARACTERS] for name, value in texts.items()}.items())


def execution_from(row: Mapping[str, Any], payload: Mapping[str, Any] | None) -> ExecutionRecord:
    """A stored row and, where it was read, its payload."""
    values = dict(row)
    if payload is not None:
        values.update((name, payload[name]) for name in ("input", "output", "traceback", "logs", "metadata", "span"))
    values["payload_deleted"] = bool(values["payload_deleted"])
    values["status"] = Status(values["status"])
    values["rank"] = Rank(values["rank"])
    return ExecutionRecord(**values)


def span_from(row: Mapping[str, Any]) -> SpanRecord:
    """A stored child span."""
    return SpanRecord(**{name: row[name] for name in SpanRecord.__struct_fields__})


def sanitized(row: _RowT) -> _RowT:
    """The same row with every value of its declared type: bad characters replaced, integers within 64 bits."""
    clean = {field.name: _clean(getattr(row, field.name), field.type) for field in msgspec.structs.fields(row)}
    return msgspec.structs.replace(row, **clean)


def identity(row: Row) -> str:
    """The execution that the row belongs to, usable as a key even where the row is bad."""
    text: object = row.id if isinstance(row, ExecutionRecord) else row.execution_id
    return text if isinstance(text, str) else repr(text)


def _size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _check(text: str, integers: object) -> None:
    if "\0" in text:
        raise BadValueError("a text holds a NUL character")
    if not isinstance(integers, int):
        raise BadValueError("a number is not an integer")


def _clean(value: object, kind: object) -> object:
    if kind is Status:
        return value if value in _STATUS_TEXT else Status.FAILED
    if kind is Rank:
        return Rank(_clean_int(value, low=Rank.PENDING, high=Rank.ENDED))
    if kind is bool:
        return value is True
    if kind is str:
        text = value if isinstance(value, str) else repr(value)
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", REPLACEMENT)
    return None if value is None and kind is not int else _clean_int(value, low=-_INT64_MAX - 1, high=_INT64_MAX)


def _clean_int(value: object, *, low: int, high: int) -> int:
    return max(low, min(high, value)) if isinstance(value, int) else max(low, 0)


def _scalar_text(value: object) -> str:
    return msgspec.json.encode(value).decode()
