"""Which executions the retention removes, the oldest first: pages of ids, read without a lock.

In: a stage, and where the last page ended. Out: `(start_time, id)`s that fit the stage's conditions now; whoever
removes them asks the conditions again. Pending and running executions fit none.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, literal_column, or_, select

from otel_tracker.record import Status
from otel_tracker.storage.agreed import MARKS
from otel_tracker.storage.tables import NOT_COMPLETED, executions

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PAGE: Final = 2_000
_table = executions.c
_COMPLETED: Final = _table.status == Status.COMPLETED.value
_FINISHED: Final = _table.status.not_in((Status.PENDING.value, Status.RUNNING.value))
_HAS_PAYLOAD: Final = _table.payload_deleted == 0
_OTHERS: Final = tuple(status.value for status in Status if status.is_final and status is not Status.COMPLETED)

Position = tuple[int, str]
"""Start time and id."""


class Stage(NamedTuple):
    """A kind of what goes."""

    conditions: tuple[ColumnElement[bool], ...]
    statuses: tuple[str, ...] = ()
    """Where given, each of them is read from the index of what is not completed, and the pages are merged."""
    payloads_only: bool = False
    mark: str = ""
    """The agreed number below which nothing fits."""

    def page(self, connection: Connection, *, after: Position | None, start: int) -> list[Position]:
        """The next; empty at the end. `start` is what the mark says."""
        bounds = [] if after is None else _behind(after)
        if self.mark:
            bounds.append(_table.start_time >= start)
        if not self.statuses:
            return _page(connection, *self.conditions, *bounds)
        # The condition in words is the index's own: a planner does not prove it of a bound value.
        parts = [
            _page(connection, literal_column(NOT_COMPLETED.text), _table.status == one, *self.conditions, *bounds)
            for one in self.statuses
        ]
        return list(heapq.merge(*parts))[:PAGE]


def started_before(moment: int) -> Stage:
    """By age."""
    return Stage((_FINISHED, _table.start_time < moment))


def of_plugin(name: str) -> Stage:
    """All of one plugin."""
    return Stage((_FINISHED, _table.plugin_name == name))


def by_worth() -> tuple[Stage, ...]:
    """What `max_bytes` takes, the least valuable first."""
    return (
        Stage((_COMPLETED, _HAS_PAYLOAD), payloads_only=True, mark=MARKS[0]),
        Stage((_FINISHED, _HAS_PAYLOAD), statuses=_OTHERS, payloads_only=True, mark=MARKS[1]),
        Stage((_COMPLETED,), mark=MARKS[2]),
        Stage((_FINISHED,), statuses=_OTHERS),
    )


def _page(connection: Connection, *conditions: ColumnElement[bool]) -> list[Position]:
    found = select(_table.start_time, _table.id).where(*conditions).order_by(_table.start_time, _table.id).limit(PAGE)
    return [(row.start_time, row.id) for row in connection.execute(found)]


def _behind(after: Position) -> list[ColumnElement[bool]]:
    start, execution_id = after
    later = or_(_table.start_time > start, and_(_table.start_time == start, _table.id > execution_id))
    # The plain bound comes first: an index can seek to it, which it cannot for the OR.
    return [_table.start_time >= start, later]
