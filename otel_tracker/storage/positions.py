"""How far each spool was delivered: what makes a frame count once, whatever became of the spool's own cursor.

In: a position, in the transaction of the rows that it covers; later the question for it. Out: the newest one. A cursor
file may be older (the process was killed, or the power cut, after the commit), and the records may be deleted since:
frames before the position are not delivered again all the same, so nothing that was deleted comes back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from otel_tracker.query import SpoolPosition
from otel_tracker.storage.tables import spool_positions

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from otel_tracker.storage.engine import Database

_table = spool_positions.c


class Positions:
    """Of one database."""

    def __init__(self, database: Database) -> None:
        self._insert = database.dialect.insert(spool_positions)

    def put(self, connection: Connection, position: SpoolPosition) -> None:
        """Forget the one before. The caller's transaction excludes others."""
        numbers = {
            "segment": position.segment,
            "segment_offset": position.offset,
            "frames": position.frames,
            "corrupt": position.corrupt,
            "checksum": position.checksum,
            "updated_at": time.time_ns(),
        }
        change = update(spool_positions).where(_table.instance_id == position.instance_id).values(numbers)
        if not connection.execute(change).rowcount:
            self._insert(connection, [(position.instance_id, *numbers.values())])

    def get(self, connection: Connection, instance_id: str) -> SpoolPosition | None:
        """The newest; None where there is none."""
        row = connection.execute(select(spool_positions).where(_table.instance_id == instance_id)).one_or_none()
        if row is None:
            return None
        return SpoolPosition(
            instance_id=row.instance_id,
            segment=row.segment,
            offset=row.segment_offset,
            frames=row.frames,
            corrupt=row.corrupt,
            checksum=row.checksum,
        )


def forget_positions(connection: Connection, *, before: int) -> None:
    """Those that have not moved since that nanosecond: their spools are gone for long."""
    connection.execute(delete(spool_positions).where(_table.updated_at < before))
