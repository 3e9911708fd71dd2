"""`otel_tracker.query` compiled to SQL, and page cursors. Builds statements; runs none. Pages are made in `keyset`.

A cursor is base64url of `<start_time>:<id>` of the last row of a page: the next page starts behind it, whatever
arrived in between.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace
from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, exists, func, literal_column, or_, select

from otel_tracker.errors import CursorError
from otel_tracker.query import TOTAL_IS_EXACT_UP_TO, ExecutionFilter
from otel_tracker.record import Status
from otel_tracker.storage.tables import HAS_DELIVERY, HAS_ERROR_TYPE, NOT_COMPLETED, executions, tags

if TYPE_CHECKING:
    from collections.abc import Iterator

Position = tuple[int, str]
"""Start time and id of a row."""

_INT64_MAX: Final = 2**63 - 1
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


class Source(NamedTuple):
    """Rows of executions, and the two columns that an index of theirs has in the order of pages."""

    rows: FromClause
    start_time: ColumnElement[int]
    id: ColumnElement[str]


_ALL: Final = Source(executions, executions.c.start_time, executions.c.id)
_TAGGED: Final = Source(
    tags.join(executions, executions.c.id == tags.c.execution_id), tags.c.start_time, tags.c.execution_id
)
_TAGS_ALONE: Final = Source(tags, tags.c.start_time, tags.c.execution_id)


def source_of(wanted: ExecutionFilter) -> Source:
    """A tag leads through the index of tags; everything else through those of executions."""
    return _TAGGED if wanted.tags else _ALL


def key_source_of(wanted: ExecutionFilter) -> Source:
    """The same where only positions are asked for: tags alone need no look at the executions."""
    rest = replace(wanted, tags=(), started_from=None, started_before=None, text="")
    return _TAGS_ALONE if wanted.tags and rest == ExecutionFilter() else source_of(wanted)


def index_of(wanted: ExecutionFilter) -> tuple[Table, str]:
    """The index that has what this filter wants in the order of pages, and its table."""
    if wanted.tags:
        return tags, "execution_tags_by_value"
    has_plugin = len(wanted.plugins) == 1
    if wanted.trace_id:
        kind = "trace"
    elif wanted.delivery_id:
        kind = "delivery"
    elif len(wanted.error_types) == 1 and wanted.error_types[0]:
        kind = "error_type"
    elif len(wanted.statuses) == 1 and wanted.statuses[0] is not Status.COMPLETED:
        kind = "plugin_status" if has_plugin else "status"
    else:
        kind = "plugin" if has_plugin else "start"
    return executions, f"executions_by_{kind}"


def led_by(wanted: ExecutionFilter) -> ExecutionFilter:
    """What one range of an index finds of it (of each branch of `keyset`): the rest is looked up row by row."""
    times = ExecutionFilter(started_from=wanted.started_from, started_before=wanted.started_before)
    if wanted.tags:
        return replace(times, tags=wanted.tags[:1])
    if wanted.trace_id or wanted.delivery_id:
        return replace(times, trace_id=wanted.trace_id, delivery_id="" if wanted.trace_id else wanted.delivery_id)
    if wanted.error_types and "" not in wanted.error_types:
        return replace(times, error_types=wanted.error_types)
    failing = () if Status.COMPLETED in wanted.statuses else wanted.statuses
    return replace(times, plugins=wanted.plugins, statuses=failing)


def conditions(wanted: ExecutionFilter, source: Source = _ALL) -> list[ColumnElement[bool]]:
    """All of them must hold; `text` is not among them, for no two databases compare text alike."""
    table = executions.c
    found = [*_kinds(wanted), *_tags(wanted.tags, source)]
    if wanted.trace_id:
        found.append(table.trace_id == wanted.trace_id)
    if wanted.delivery_id:
        found += [table.delivery_id == wanted.delivery_id, literal_column(HAS_DELIVERY.text)]
    found += _within(source.start_time, at_least=wanted.started_from)
    if wanted.started_before is not None:
        found.append(source.start_time < wanted.started_before)
    durations = _within(table.duration, at_least=wanted.min_duration, at_most=wanted.max_duration)
    return [*found, table.end_time.is_not(None), *durations] if durations else found


def _kinds(wanted: ExecutionFilter) -> list[ColumnElement[bool]]:
    found = [_one_of(executions.c.plugin_name, wanted.plugins)] if wanted.plugins else []
    if wanted.statuses:
        found.extend(_status(wanted.statuses))
    if wanted.error_types:
        found.extend(_error_type(wanted.error_types))
    return found


def _one_of(column: ColumnElement[str], values: tuple[str, ...]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _status(statuses: tuple[Status, ...]) -> list[ColumnElement[bool]]:
    found = [_one_of(executions.c.status, tuple(status.value for status in statuses))]
    # An error filter or a status other than completed: say literally what the partial index covers.
    return found if Status.COMPLETED in statuses else [*found, literal_column(NOT_COMPLETED.text)]


def _error_type(error_types: tuple[str, ...]) -> list[ColumnElement[bool]]:
    found = [_one_of(executions.c.error_type, error_types)]
    return found if "" in error_types else [*found, literal_column(HAS_ERROR_TYPE.text)]


def _within(
    column: ColumnElement[int], *, at_least: int | None = None, at_most: int | None = None
) -> list[ColumnElement[bool]]:
    bounds = [] if at_least is None else [column >= at_least]
    return bounds if at_most is None else [*bounds, column <= at_most]


def _tags(pairs: tuple[tuple[str, str], ...], source: Source) -> Iterator[ColumnElement[bool]]:
    # The first leads; the others are looked up for each row that it finds.
    for number, (name, value) in enumerate(pairs):
        table = tags.alias(f"tag_{number}") if number else tags
        fits = and_(table.c.name == name, table.c.value == value)
        yield exists().where(table.c.execution_id == source.id, fits) if number else fits


def between(
    wanted: ExecutionFilter, source: Source, *, after: Position | None, last: Position | None
) -> list[ColumnElement[bool]]:
    """`conditions` of the rows behind `after` and not behind `last`.

    Of two bounds on one side SQLite seeks to the first: so there is one, and what is at the same moment comes second.
    """
    start, ties = source.start_time, []
    if after is not None:
        moment, execution_id = after
        if moment < _INT64_MAX:
            wanted = replace(wanted, started_before=min(moment + 1, _or(wanted.started_before, _INT64_MAX)))
        ties.append(or_(start < moment, and_(start == moment, source.id < execution_id)))
    if last is not None:
        moment, execution_id = last
        wanted = replace(wanted, started_from=max(moment, _or(wanted.started_from, moment)))
        ties.append(or_(start > moment, and_(start == moment, source.id >= execution_id)))
    return [*conditions(wanted, source), *ties]


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def total(
    wanted: ExecutionFilter, *, last: Position | None = None, most: int = TOTAL_IS_EXACT_UP_TO + 1
) -> Select[Any]:
    """Counts matches that are not behind `last`, but no further than `most`: one past what is told exactly."""
    source = key_source_of(wanted)
    columns: Select[Any] = select(literal_column("1")).select_from(source.rows)
    bounded = columns.where(*between(wanted, source, after=None, last=last))
    return select(func.count()).select_from(bounded.limit(most).subquery())
