"""Pages and totals of filters of which an index knows a part: the rest is looked up in a bounded number of executions.

In: a connection and a request without a `text`. Out: what was found, and where the scan stopped. An index leads to the
candidates; durations, `completed`, and a second filter beside the first are in the rows alone. How far the bound
reaches is told by the index itself, so that the statement that looks up rows has an end, however few of them match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from otel_tracker.query import TOTAL_IS_EXACT_UP_TO, ExecutionFilter
from otel_tracker.record import Status
from otel_tracker.storage import keyset, query
from otel_tracker.storage.query import Position

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from otel_tracker.query import PageRequest

COUNTED: Final = 500
"""Candidates that a total looks at: of ten million records each lies in another part of the file."""
LEAST_OF_BRANCH: Final = 100


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The matches of one page, newest first."""

    matches: list[Position]
    """At most as many as the page may have."""
    goes_on_behind: Position | None
    """None: the end of the history was reached."""
    scan_complete: bool
    """False: the budget ended it, before the page was full or the end was reached."""
    total: tuple[int, bool] = (0, False)
    """Where it was asked for and no text: how many match, and whether that is all."""


def is_needed(wanted: ExecutionFilter) -> bool:
    """Whether an index knows only a part of it."""
    return query.led_by(wanted) != replace(wanted, text="")


def scan(connection: Connection, request: PageRequest) -> Found:
    """Look on behind the request's cursor, a few first: most pages are full by then."""
    wanted, after = request.filter, query.decode_cursor(request.cursor) if request.cursor else None
    counts = request.with_total and after is None and not _is_of_indexes(wanted)  # in the same look
    found: list[Position] = []
    looked_at, most, told = 0, request.budget.candidates, (0, False)
    if request.with_total and not counts:
        told = total(connection, request)
    first = min(COUNTED if counts else 4 * request.limit, most)
    for number in sorted({first, min(4 * first, most), most}):
        last = candidate_at(connection, wanted, after, number - looked_at)
        room = number if counts and not looked_at else request.limit + 1 - len(found)
        statement = keyset.positions(wanted, after, limit=room, last=last)
        found += ((row.start_time, row.id) for row in connection.execute(statement))
        if counts and not looked_at:
            told = (len(found), last is None)
        if len(found) > request.limit:
            matches = found[: request.limit]
            return Found(matches=matches, goes_on_behind=matches[-1], scan_complete=True, total=told)
        if last is None:
            return Found(matches=found, goes_on_behind=None, scan_complete=True, total=told)
        looked_at, after = number, last
    return Found(matches=found, goes_on_behind=after, scan_complete=False, total=told)


def total(connection: Connection, request: PageRequest) -> tuple[int, bool]:
    """How many match, and whether that is all: of the newest candidates, where there are many."""
    wanted, most = request.filter, request.budget.candidates
    if _is_of_indexes(wanted):
        leading = query.led_by(wanted)
        others = tuple(status for status in Status if status not in wanted.statuses)
        last = candidate_at(connection, wanted, None, 2 * most)
        found = _count(connection, leading, last, most=2 * most)
        found -= _count(connection, replace(leading, statuses=others), last, most=2 * most) if others else 0
    else:
        last = candidate_at(connection, wanted, None, min(COUNTED, most))
        found = _count(connection, wanted, last, most=TOTAL_IS_EXACT_UP_TO + 1)
    found = max(found, 0)  # counted twice, while records come and go
    return min(found, TOTAL_IS_EXACT_UP_TO), last is None and found <= TOTAL_IS_EXACT_UP_TO


def _is_of_indexes(wanted: ExecutionFilter) -> bool:
    """Whether it asks for completed ones, of plugins and times alone: an index counts all, another the failing ones."""
    known = ExecutionFilter(
        plugins=wanted.plugins,
        statuses=wanted.statuses,
        started_from=wanted.started_from,
        started_before=wanted.started_before,
    )
    return Status.COMPLETED in wanted.statuses and known == wanted


def _count(connection: Connection, wanted: ExecutionFilter, last: Position | None, *, most: int) -> int:
    return int(connection.execute(query.total(wanted, last=last, most=most)).scalar_one())


def candidate_at(
    connection: Connection, wanted: ExecutionFilter, after: Position | None, number: int
) -> Position | None:
    """Of the candidates behind `after` the one with this number; None where there are fewer, or all of them match."""
    if not is_needed(wanted):
        return None
    leading = query.led_by(wanted)
    each = max(number // len(keyset.branches(leading)), min(number, LEAST_OF_BRANCH))  # a branch reads so many
    row = connection.execute(keyset.position_at(leading, after, number=each)).one_or_none()
    return None if row is None else (row.start_time, row.id)
