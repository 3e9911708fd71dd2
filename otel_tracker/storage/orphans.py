"""Child spans whose execution is not there: it was deleted, or never came.

In: a moment. Out: pages of the ids of executions that began before and of which there are spans only. Ids are UUIDv7,
so those of an age stand together in the table's own order, and what is younger is never read. Spans of executions that
are kept are passed over: those of running ones, once the retention by age has been there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, exists, func, select

from otel_tracker.storage.agreed import STORED
from otel_tracker.storage.tables import executions, spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from otel_tracker.storage.agreed import Agreed
    from otel_tracker.storage.engine import Database
    from otel_tracker.storage.rollups import Rollups

_PAGE: Final = 1_000
_MOST_MILLISECONDS: Final = 2**48 - 1
_key = spans.c.execution_id
_lost = ~exists().where(executions.c.id == _key)


def pages(database: Database, *, before: int) -> Iterator[list[str]]:
    """Ids, in order."""
    bound, last = first_id(before), ""
    while True:
        with database.read(seconds=60.0) as connection:
            walk = select(_key).where(_key > last, _key < bound).distinct().order_by(_key).limit(_PAGE)
            seen = list(connection.execute(walk).scalars())
            known = select(executions.c.id).where(database.dialect.among(executions.c.id))
            owned = set(connection.execute(known, {"ids": seen}).scalars()) if seen else set()
        if lost := [one for one in seen if one not in owned]:
            yield lost
        if len(seen) < _PAGE:
            return
        last = seen[-1]


def remove(connection: Connection, agreed: Agreed, ids: Sequence[str], *, database: Database, rollups: Rollups) -> int:
    """Their spans, in the transaction of `agreed`; the bytes that these held."""
    which = (database.dialect.among(_key), _lost)
    size = connection.execute(select(func.coalesce(func.sum(spans.c.bytes), 0)).where(*which), {"ids": list(ids)})
    removed = int(size.scalar_one())
    connection.execute(delete(spans).where(*which), {"ids": list(ids)})
    rollups.change(connection, {STORED: agreed.stored_bytes - removed})
    return removed


def first_id(moment: int) -> str:
    """What every UUIDv7 that was made before that nanosecond is less than, and none that was made later.

    >>> first_id(1_749_220_428_123_000_000)
    '019745a9-895b'
    """
    digits = f"{max(0, min(_MOST_MILLISECONDS, moment // 1_000_000)):012x}"
    return f"{digits[:8]}-{digits[8:]}"
