"""Pages by keyset as SQL: the next rows behind a position, read off an index in order, however long the history is.

In: a filter, a position, how many. Out: a statement. Runs none. A filter with several plugins, failing statuses or
error types is cut into one branch for each: a branch is a range of an index, where a planner that is given a list sorts
all of it (PostgreSQL, MySQL) or reads on and on in the hope of a match.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, select, union_all

from otel_tracker.record import Status
from otel_tracker.storage.query import Position, Source, between, decode_cursor, index_of, key_source_of, source_of
from otel_tracker.storage.tables import executions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_tracker.query import ExecutionFilter, PageRequest

MAX_BRANCHES: Final = 100
"""SQLite takes 500 in one statement; with twenty a page takes 4 ms, with a hundred 24 ms, most of it compiling."""


def page(request: PageRequest) -> Select[Any]:
    """The rows of `executions`, newest first: one more than asked, to know whether there is a next page."""
    after = decode_cursor(request.cursor) if request.cursor else None
    offset, limit = (0 if after else request.offset), request.limit + 1
    cuts = branches(request.filter)
    if len(cuts) == 1 and not offset:
        source = source_of(cuts[0])
        return _newest(select(executions), cuts[0], source, after).limit(limit)
    # Positions alone: what an offset leaves out is skipped within the index.
    keys = _merged(cuts, after, limit=limit, offset=offset).subquery()
    table = executions.c
    return select(executions).join(keys, table.id == keys.c.id).order_by(table.start_time.desc(), table.id.desc())


def positions(
    wanted: ExecutionFilter, after: Position | None, *, limit: int, last: Position | None = None
) -> Select[Any]:
    """`start_time` and `id` of the next rows, newest first, none behind `last`."""
    return _merged(branches(wanted), after, limit=limit, offset=0, last=last)


def position_at(wanted: ExecutionFilter, after: Position | None, *, number: int) -> Select[Any]:
    """Of the next rows the one with this number, counted from 1."""
    return _merged(branches(wanted), after, limit=1, offset=number - 1)


def branches(wanted: ExecutionFilter) -> list[ExecutionFilter]:
    """The same rows as filters that each lead to one range of one index; no row is in two of them."""
    if wanted.tags or wanted.trace_id or wanted.delivery_id:
        return [wanted]
    if wanted.error_types:
        return [replace(wanted, error_types=one) for one in _singles(wanted.error_types)]
    statuses = [wanted.statuses] if Status.COMPLETED in wanted.statuses else _singles(wanted.statuses)
    plugins = _singles(wanted.plugins)
    if len(plugins) * len(statuses) > MAX_BRANCHES:
        plugins = [wanted.plugins]
    return [replace(wanted, plugins=plugin, statuses=status) for plugin, status in product(plugins, statuses)]


def _singles(values: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(value,) for value in dict.fromkeys(values)] or [()]


def _merged(
    cuts: Sequence[ExecutionFilter], after: Position | None, *, limit: int, offset: int, last: Position | None = None
) -> Select[Any]:
    if len(cuts) == 1:
        return _keys(cuts[0], after, last).limit(limit).offset(offset or None)
    heads = (_keys(cut, after, last).limit(limit + offset).subquery() for cut in cuts)
    every = union_all(*(select(head.c.start_time, head.c.id) for head in heads)).subquery()
    newest = select(every.c.start_time, every.c.id).order_by(every.c.start_time.desc(), every.c.id.desc())
    return newest.limit(limit).offset(offset or None)


def _keys(wanted: ExecutionFilter, after: Position | None, last: Position | None) -> Select[Any]:
    source = key_source_of(wanted)
    columns: list[ColumnElement[Any]] = [source.start_time.label("start_time"), source.id.label("id")]
    return _newest(select(*columns), wanted, source, after, last)


def _newest(
    columns: Select[Any],
    wanted: ExecutionFilter,
    source: Source,
    after: Position | None,
    last: Position | None = None,
) -> Select[Any]:
    statement = columns.select_from(source.rows).where(*between(wanted, source, after=after, last=last))
    table, index = index_of(wanted)
    # MariaDB prefers an equality alone to a range of the same index, and so reads all that is newer than a cursor.
    statement = statement.with_hint(table, f"FORCE INDEX ({index})", "mysql")
    return statement.order_by(source.start_time.desc(), source.id.desc())
