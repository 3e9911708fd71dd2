"""Removing executions, or only their payloads, in the caller's transaction: with children, rollups and bytes.

In: ids, oldest first, the conditions that they must still meet, and how many bytes may go at most. Out: `Removed`. What
the rollups count of the deleted stays, marked as pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, func, select, update

from otel_tracker.storage.agreed import EXECUTION_BYTES, STORED
from otel_tracker.storage.buckets import Counted, Deltas
from otel_tracker.storage.tables import executions, payloads, spans, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.engine import Connection

    from otel_tracker.storage.agreed import Agreed
    from otel_tracker.storage.candidates import Stage
    from otel_tracker.storage.dialects import Dialect
    from otel_tracker.storage.rollups import Rollups

MOST_BYTES: Final = 4 << 20
"""Of one transaction; an execution that holds more goes alone."""


class Removed(NamedTuple):
    """What a transaction did."""

    passed: int
    """How many of the ids were looked at: the rest is for the next one."""
    rows: int
    bytes: int


class Removal:
    """For one database."""

    def __init__(self, dialect: Dialect, rollups: Rollups) -> None:
        self._rollups = rollups
        self.touched: set[tuple[int, int]] = set()
        """Buckets of the rollups, as width and start, in which rows may count nothing any more."""
        among = dialect.among
        # Children are deleted by name: foreign keys may be switched off, and spans have none.
        self._deletes = (
            delete(spans).where(among(spans.c.execution_id)),
            delete(tags).where(among(tags.c.execution_id)),
            delete(payloads).where(among(payloads.c.execution_id)),
            delete(executions).where(among(executions.c.id)),
        )
        self._sheds = (
            delete(payloads).where(among(payloads.c.execution_id)),
            update(executions).where(among(executions.c.id)).values(payload_deleted=1),
        )
        self._among: ColumnElement[bool] = among(executions.c.id)
        self._spans = (
            select(spans.c.execution_id, func.sum(spans.c.bytes).label("bytes"))
            .where(among(spans.c.execution_id))
            .group_by(spans.c.execution_id)
        )

    def remove(
        self, connection: Connection, agreed: Agreed, ids: Sequence[str], *, stage: Stage, most_bytes: int
    ) -> Removed:
        """Those of the ids that still fit the stage, until the bytes are reached; in the transaction of `agreed`."""
        found = self._sizes(connection, ids, stage)
        chosen, size = _first(ids, found, most_bytes)
        passed = ids.index(chosen[-1]) + 1 if chosen and len(chosen) < len(found) else len(ids)
        if chosen:
            self._take(connection, agreed, [found[one][0] for one in chosen], payloads_only=stage.payloads_only)
            self._rollups.change(connection, {STORED: agreed.stored_bytes - size})
        return Removed(passed, len(chosen), size)

    def _sizes(self, connection: Connection, ids: Sequence[str], stage: Stage) -> dict[str, tuple[Row[Any], int]]:
        columns = (executions.c[name] for name in Counted._fields)
        size = func.coalesce(payloads.c.bytes, 0).label("size")
        statement = select(*columns, executions.c.id, size).outerjoin(payloads).where(self._among, *stage.conditions)
        rows: list[Row[Any]] = list(connection.execute(statement, {"ids": list(ids)}))
        if stage.payloads_only:
            return {row.id: (row, int(row.size)) for row in rows}
        of_spans = {row.execution_id: int(row.bytes) for row in connection.execute(self._spans, {"ids": list(ids)})}
        return {row.id: (row, EXECUTION_BYTES + int(row.size) + of_spans.get(row.id, 0)) for row in rows}

    def _take(self, connection: Connection, agreed: Agreed, rows: list[Row[Any]], *, payloads_only: bool) -> None:
        for statement in self._sheds if payloads_only else self._deletes:
            connection.execute(statement, {"ids": [row.id for row in rows]})
        if not payloads_only:
            deltas = Deltas(agreed.width)
            deltas.move_to_pruned(Counted(*row[: len(Counted._fields)]) for row in rows)
            self._rollups.apply(connection, deltas)
            self.touched |= deltas.buckets()


def _first(ids: Sequence[str], found: dict[str, tuple[Row[Any], int]], most_bytes: int) -> tuple[list[str], int]:
    """In order, until they hold so many bytes together; at least one."""
    chosen: list[str] = []
    size = 0
    for one in ids:
        if one in found and (not chosen or size < most_bytes):
            chosen.append(one)
            size += found[one][1]
    return chosen, size
