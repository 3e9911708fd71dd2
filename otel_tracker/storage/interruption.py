"""Ending what a dead process left pending or running. In: whose, and when it ended. Out: how many.

The end is concluded, not told (`Rank.INTERRUPTED`): the real one, should it still arrive, replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import case, literal_column, update

from otel_tracker.record import Rank, Status
from otel_tracker.storage.buckets import Counted, Deltas
from otel_tracker.storage.rollups import counted
from otel_tracker.storage.tables import NOT_COMPLETED, executions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from otel_tracker.storage.engine import Database
    from otel_tracker.storage.rollups import Rollups

INTERRUPTED_TYPE: Final = "interrupted"
INTERRUPTED_TEXT: Final = "The process that ran this execution ended before it did."


def interrupt(database: Database, rollups: Rollups, *, instance_id: str, now: int) -> int:
    """`now` is when the instance is known to have ended, in nanoseconds: no execution ends before it started."""
    table = executions.c
    left: tuple[ColumnElement[bool], ...] = (
        table.status.in_((Status.PENDING.value, Status.RUNNING.value)),
        literal_column(NOT_COMPLETED.text),
        table.instance_id == instance_id,
    )
    with database.write() as connection:
        agreed = rollups.begin(connection)
        deltas = Deltas(agreed.width)
        before = [Counted(*row) for row in connection.execute(counted(*left))]
        if before:
            connection.execute(update(executions).where(*left).values(_ended(now)))
            deltas.add(before, sign=-1)
            deltas.add(_as_interrupted(one) for one in before)
            rollups.apply(connection, deltas)
            rollups.change(connection, agreed.lowered(one.start_time for one in before))
    return len(before)


def _as_interrupted(one: Counted) -> Counted:
    return one._replace(status=Status.FAILED.value, error_type=INTERRUPTED_TYPE, rank=int(Rank.INTERRUPTED))


def _ended(now: int) -> dict[str, object]:
    start_time = executions.c.start_time
    return {
        "status": Status.FAILED.value,
        "rank": int(Rank.INTERRUPTED),
        "error_type": INTERRUPTED_TYPE,
        "error": INTERRUPTED_TEXT,
        "end_time": case((start_time < now, now), else_=start_time),
        "duration": case((start_time < now, now - start_time), else_=0),
        "updated_at": now,
    }
