"""Everything of some traces: executions found by an index, their child spans by their primary key. Never writes.

In: a connection and a `TraceRequest`. Out: rows by start time, within its bounds. Child spans have no index of their
own by trace, which each of them would pay for while it is written: their executions lead to them. Long texts are cut
by the database, so a trace of big payloads is read at the price of small ones.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Integer, and_, bindparam, func, select

from otel_tracker.query import TraceRequest, TraceRows
from otel_tracker.storage.rows import execution_from, span_from
from otel_tracker.storage.tables import executions, payloads, spans

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.engine import Connection

    from otel_tracker.record import ExecutionRecord, SpanRecord

_CUT: Final = ("input", "output", "traceback", "logs", "metadata")
_OF_SPAN: Final[tuple[ColumnElement[Any], ...]] = (spans.c.start_time, spans.c.execution_id, spans.c.span_id)
"""The order of spans, unique."""


def trace_rows(connection: Connection, request: TraceRequest) -> TraceRows:
    """The rows, and whether they are all."""
    records = _executions(connection, request)
    shown = records[: request.max_executions]
    children, are_all = _spans(connection, [record.id for record in shown], request) if shown else ([], True)
    return TraceRows(executions=shown, spans=children, is_whole=are_all and len(shown) == len(records))


def _executions(connection: Connection, request: TraceRequest) -> list[ExecutionRecord]:
    """One more than asked for, where there are more."""
    wanted = request.execution_ids or request.trace_ids
    values: dict[str, Any] = {"wanted": _askable(wanted), "limit": request.max_executions + 1}
    with_payloads = request.payload_characters > 0
    if with_payloads:
        values["characters"] = request.payload_characters
    statement = _select_executions(by_id=bool(request.execution_ids), with_payloads=with_payloads)
    return [_record(row._asdict()) for row in connection.execute(statement, values)]


def _record(values: dict[str, Any]) -> ExecutionRecord:
    """Of an execution without a payload, where the retention deleted it, the joined columns are null."""
    return execution_from({name: value for name, value in values.items() if value is not None}, None)


@cache
def _select_executions(*, by_id: bool, with_payloads: bool) -> Select[Any]:
    # Built once: in_(ids) is a reference cycle of SQLAlchemy's that keeps the ids until a full garbage collection.
    column = executions.c.id if by_id else executions.c.trace_id
    columns: list[ColumnElement[Any]] = [*executions.c, payloads.c.span]
    if with_payloads:
        columns += [
            func.substr(payloads.c[name], 1, bindparam("characters", type_=Integer)).label(name) for name in _CUT
        ]
    return (
        select(*columns)
        .outerjoin(payloads, payloads.c.execution_id == executions.c.id)
        .where(column.in_(bindparam("wanted", expanding=True)))
        .order_by(executions.c.start_time, executions.c.id)
        .limit(bindparam("limit"))
    )


def _spans(connection: Connection, ids: list[str], request: TraceRequest) -> tuple[list[SpanRecord], bool]:
    """Within the bounds, and whether these are all."""
    values = {"wanted": ids, "limit": request.max_spans, "bytes": request.max_span_bytes}
    total = int(connection.execute(_COUNT_SPANS, {"wanted": ids}).scalar_one())
    found = [span_from(row._asdict()) for row in connection.execute(_SELECT_SPANS, values)] if total else []
    return found, len(found) == total


def _select_spans() -> Select[Any]:
    """The first so many, as long as their bytes together do not exceed what is allowed."""
    size = func.sum(spans.c.bytes).over(order_by=_OF_SPAN).label("bytes_so_far")
    keys = (
        select(spans.c.execution_id, spans.c.span_id, size)
        .where(spans.c.execution_id.in_(bindparam("wanted", expanding=True)))
        .order_by(*_OF_SPAN)
        .limit(bindparam("limit"))
        .subquery()
    )
    is_same = and_(spans.c.execution_id == keys.c.execution_id, spans.c.span_id == keys.c.span_id)
    return select(spans).join(keys, is_same).where(keys.c.bytes_so_far <= bindparam("bytes")).order_by(*_OF_SPAN)


_SELECT_SPANS: Final = _select_spans()
_COUNT_SPANS: Final = (
    select(func.count()).select_from(spans).where(spans.c.execution_id.in_(bindparam("wanted", expanding=True)))
)


def _askable(texts: tuple[str, ...]) -> list[str]:
    """A lone surrogate in a path must be "not found", not an encoding error."""
    return [text.encode("utf-8", "replace").decode() for text in texts]
