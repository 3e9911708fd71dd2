"""`otel_tracker.query` compiled to SQL, and page cursors. Builds statements; runs none.

A cursor is base64url of `<start_time>:<id>` of the last row of a page: the next page starts behind it, whatever
arrived in between.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select

from otel_tracker.errors import CursorError
from otel_tracker.query import TOTAL_IS_EXACT_UP_TO, ExecutionFilter, PageRequest
from otel_tracker.record import Status
from otel_tracker.storage.tables import HAS_DELIVERY, NOT_COMPLETED, executions, tags

_CURSOR: Final = re.compile(r"(-?[0-9]{1,19}):([0-9A-Za-z-]{1,36})", re.ASCII)


def encode_cursor(start_time: int, execution_id: str) -> str:
    """Where a page ended."""
    return base64.urlsafe_b64encode(f"{start_time}:{execution_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    """`(start_time, id)`. Raises `CursorError` for anything that `encode_cursor` did not make."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _foreign(cursor) from error
    match = _CURSOR.fullmatch(raw)
    if match is None or not -(2**63) <= int(match[1]) < 2**63:
        raise _foreign(cursor)
    return int(match[1]), match[2]


def _foreign(cursor: str) -> CursorError:
    return CursorError(f"cursor {cursor[:80]!r} is not one of ours: use next_cursor of the page before, unchanged")


def conditions(wanted: ExecutionFilter) -> list[ColumnElement[bool]]:
    """All of them must hold."""
    table = executions.c
    found: list[ColumnElement[bool]] = []
    if wanted.plugins:
        found.append(_one_of(table.plugin_name, wanted.plugins))
    if wanted.statuses:
        found.extend(_status(wanted.statuses))
    if wanted.error_types:
        found.append(_one_of(table.error_type, wanted.error_types))
    if wanted.trace_id:
        found.append(table.trace_id == wanted.trace_id)
    if wanted.delivery_id:
        found += [table.delivery_id == wanted.delivery_id, literal_column(HAS_DELIVERY.text)]
    if wanted.started_from is not None:
        found.append(table.start_time >= wanted.started_from)
    if wanted.started_before is not None:
        found.append(table.start_time < wanted.started_before)
    found.extend(_tag(name, value) for name, value in wanted.tags)
    return found


def _one_of(column: ColumnElement[str], values: tuple[str, ...]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _status(statuses: tuple[Status, ...]) -> list[ColumnElement[bool]]:
    found = [_one_of(executions.c.status, tuple(status.value for status in statuses))]
    # An error filter or a status other than completed: say literally what the partial index covers.
    return found if Status.COMPLETED in statuses else [*found, literal_column(NOT_COMPLETED.text)]


def _tag(name: str, value: str) -> ColumnElement[bool]:
    # IN and not EXISTS: a rare tag, such as a job id, can then drive the search instead of being probed for every row.
    return executions.c.id.in_(select(tags.c.execution_id).where(tags.c.name == name, tags.c.value == value))


def page(request: PageRequest) -> Select[Any]:
    """One row more than asked, to know whether there is a next page."""
    statement = select(executions).where(*conditions(request.filter))
    if request.cursor:
        start_time, execution_id = decode_cursor(request.cursor)
        table = executions.c
        before = or_(table.start_time < start_time, and_(table.start_time == start_time, table.id < execution_id))
        # The plain bound comes first: an index can seek to it, which it cannot for the OR.
        statement = statement.where(table.start_time <= start_time, before)
    elif request.offset > 0:
        statement = statement.offset(request.offset)
    return statement.order_by(executions.c.start_time.desc(), executions.c.id.desc()).limit(request.limit + 1)


def total(wanted: ExecutionFilter) -> Select[Any]:
    """Counts matches, but no further than one past what is told exactly."""
    bounded: Select[Any] = select(literal_column("1")).select_from(executions).where(*conditions(wanted))
    return select(func.count()).select_from(bounded.limit(TOTAL_IS_EXACT_UP_TO + 1).subquery())
