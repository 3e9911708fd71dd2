"""Batches into tables, idempotently: each execution's best-ranked version wins, in any order of arrival.

In: rows, and how far that is in the spool that they come from. Out: a `WriteResult`, rollups that count every execution
as it now stands, the position, and the bytes of what is stored; all of it in one transaction. Rows go through the
driver's `executemany` with SQL compiled once. A row that the database refuses is found by halving its batch under
savepoints, repaired, stored and named; the rest is not touched.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.exc import DBAPIError

from otel_tracker.query import WriteResult
from otel_tracker.record import ExecutionRecord, Row, SpanRecord
from otel_tracker.storage import rows as convert
from otel_tracker.storage.agreed import EXECUTION_BYTES, STORED, Agreed
from otel_tracker.storage.buckets import Counted, Deltas
from otel_tracker.storage.dialects import Batch, Dialect, driver_error
from otel_tracker.storage.positions import Positions
from otel_tracker.storage.rollups import Rollups, counted
from otel_tracker.storage.tables import executions, payloads, spans, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.engine import Connection

    from otel_tracker.query import SpoolPosition
    from otel_tracker.storage.engine import Database

_LOOKUP_ROWS: Final = 500
_PAYLOAD_BYTES: Final = payloads.columns.keys().index("bytes")
_SPAN_BYTES: Final = spans.columns.keys().index("bytes")
_RowT = TypeVar("_RowT", ExecutionRecord, SpanRecord)


class _Stored(NamedTuple):
    """What rows added."""

    rows: int = 0
    bytes: int = 0
    first: int = 2**63 - 1
    """The earliest start of the executions."""

    def and_(self, other: _Stored) -> _Stored:
        return _Stored(self.rows + other.rows, self.bytes + other.bytes, min(self.first, other.first))


class _Rejection(NamedTuple):
    place: int
    reason: str
    is_lost: bool


_Rejected = list[_Rejection]

_Known = dict[str, Counted]
_NOTHING: Final = _Stored()


class Writer:
    """Writes into one database; its threads take turns."""

    def __init__(self, database: Database, rollups: Rollups) -> None:
        self._database = database
        self._rollups = rollups
        self._dialect: Dialect = database.dialect
        self._known_versions = counted(self._dialect.among(executions.c.id)).add_columns(executions.c.id)
        self._known_spans = select(spans.c.execution_id, spans.c.span_id).where(
            self._dialect.among(spans.c.execution_id)
        )
        self._bytes_of = select(func.coalesce(func.sum(payloads.c.bytes), 0)).where(
            self._dialect.among(payloads.c.execution_id)
        )
        self._positions = Positions(database)
        self._delete_tags = delete(tags).where(self._dialect.among(tags.c.execution_id))
        self._add_executions = self._dialect.insert(executions)
        self._add_payloads = self._dialect.insert(payloads)
        self._put_executions = self._dialect.upsert(executions, key=("id",), guard="rank")
        self._put_payloads = self._dialect.upsert(payloads, key=("execution_id",), guard="rank")
        self._put_tags = self._dialect.upsert(tags, key=("execution_id", "name"), guard=None)
        self._put_spans = self._dialect.upsert(spans, key=("execution_id", "span_id"), guard=None)

    def write(
        self,
        rows: Sequence[Row],
        *,
        position: SpoolPosition | None,
        before_commit: Callable[[WriteResult], object],
    ) -> WriteResult:
        """One transaction for all of them, and for where the spool stands then."""
        if not rows and position is None:
            return WriteResult(stored=0, unchanged=0)
        best = _best_versions(rows)
        children = [(index, row) for index, row in enumerate(rows) if isinstance(row, SpanRecord)]
        rejected: _Rejected = []
        with self._database.write() as connection:
            agreed = self._rollups.begin(connection)
            store_executions = partial(self._store_executions, width=agreed.width)
            stored = self._halving(connection, best, store_executions, rejected)
            stored = stored.and_(self._halving(connection, children, self._store_spans, rejected))
            self._agree(connection, agreed, stored)
            if position is not None:
                self._positions.put(connection, position)
            result = _result(len(rows), stored.rows, rejected)
            before_commit(result)
        return result

    def _agree(self, connection: Connection, agreed: Agreed, stored: _Stored) -> None:
        changes = agreed.lowered([stored.first])
        if stored.bytes:
            changes[STORED] = agreed.stored_bytes + stored.bytes
        self._rollups.change(connection, changes)

    def _halving(
        self,
        connection: Connection,
        entries: Sequence[tuple[int, _RowT]],
        store: Callable[[Connection, Sequence[_RowT]], _Stored],
        rejected: _Rejected,
    ) -> _Stored:
        if not entries:
            return _NOTHING
        try:
            with connection.begin_nested():
                return store(connection, [row for _, row in entries])
        except (DBAPIError, TypeError, KeyError, ValueError, OverflowError) as error:
            if isinstance(error, DBAPIError) and not self._dialect.is_data_error(error):
                raise
            reason = _reason(error)
        if len(entries) == 1:
            index, row = entries[0]
            failure, stored = self._store_repaired(connection, row, store)
            told = f"not stored, even repaired: {failure}" if failure else "stored repaired"
            rejected.append(_Rejection(index, f"{reason}; {told}", bool(failure)))
            return stored._replace(rows=0)
        middle = len(entries) // 2
        first = self._halving(connection, entries[:middle], store, rejected)
        return first.and_(self._halving(connection, entries[middle:], store, rejected))

    def _store_repaired(
        self, connection: Connection, row: _RowT, store: Callable[[Connection, Sequence[_RowT]], _Stored]
    ) -> tuple[str, _Stored]:
        """Why that was refused too, empty where it was not; and what it added."""
        try:
            with connection.begin_nested():
                return "", store(connection, [convert.sanitized(row)])
        except (DBAPIError, TypeError, KeyError, ValueError, OverflowError) as error:
            if isinstance(error, DBAPIError) and not self._dialect.is_data_error(error):
                raise
            return _reason(error), _NOTHING

    def _store_executions(self, connection: Connection, records: Sequence[ExecutionRecord], *, width: int) -> _Stored:
        known = self._versions(connection, [record.id for record in records])
        better = [record for record in records if record.id not in known or record.rank > known[record.id].rank]
        if not better:
            return _NOTHING
        values = [convert.execution_values(record) for record in better]
        payload_values = [convert.payload_values(record) for record in better if not record.payload_deleted]
        replaced = [record.id for record in better if record.id in known]
        added = convert.total(payload_values, _PAYLOAD_BYTES) - self._payload_bytes(connection, replaced)
        self._store_rows(connection, values, known, insert=self._add_executions, upsert=self._put_executions)
        self._store_rows(connection, payload_values, known, insert=self._add_payloads, upsert=self._put_payloads)
        self._store_tags(connection, better, known)
        deltas = Deltas(width)
        deltas.add((known[record.id] for record in better if record.id in known), sign=-1)
        deltas.add(map(convert.counted, values))
        self._rollups.apply(connection, deltas)
        added += EXECUTION_BYTES * (len(better) - len(replaced))
        return _Stored(len(better), added, min(record.start_time for record in better))

    def _store_rows(
        self, connection: Connection, rows: Sequence[tuple[object, ...]], known: _Known, *, insert: Batch, upsert: Batch
    ) -> None:
        """New ones and better ones; nobody else can add one meanwhile, see `Rollups.begin`. The id comes first."""
        new = [row for row in rows if row[0] not in known]
        better = [row for row in rows if row[0] in known] if known else []
        if new:
            insert(connection, new)
        if better:
            upsert(connection, better)

    def _store_tags(self, connection: Connection, records: Iterable[ExecutionRecord], known: _Known) -> None:
        stale = [record.id for record in records if record.id in known]
        for start in range(0, len(stale), _LOOKUP_ROWS):
            connection.execute(self._delete_tags, {"ids": stale[start : start + _LOOKUP_ROWS]})
        values = [
            (record.id, name, value, record.start_time)
            for record in records
            if record.tags != "{}"
            for name, value in convert.tag_pairs(record.tags)
        ]
        if values:
            self._put_tags(connection, values)

    def _store_spans(self, connection: Connection, children: Sequence[SpanRecord]) -> _Stored:
        known = self._children(connection, [child.execution_id for child in children])
        new = {(child.execution_id, child.span_id): child for child in children}
        values = [convert.span_values(child) for key, child in new.items() if key not in known]
        if values:
            self._put_spans(connection, values)
        return _Stored(len(values), convert.total(values, _SPAN_BYTES))

    def _versions(self, connection: Connection, ids: list[str]) -> _Known:
        known: _Known = {}
        for start in range(0, len(ids), _LOOKUP_ROWS):
            result = connection.execute(self._known_versions, {"ids": ids[start : start + _LOOKUP_ROWS]})
            known.update((row.id, Counted(*row[:-1])) for row in result)
        return known

    def _payload_bytes(self, connection: Connection, ids: list[str]) -> int:
        """Of the payloads that are there."""
        parts = (ids[start : start + _LOOKUP_ROWS] for start in range(0, len(ids), _LOOKUP_ROWS))
        return sum(int(connection.execute(self._bytes_of, {"ids": part}).scalar_one()) for part in parts)

    def _children(self, connection: Connection, ids: list[str]) -> set[tuple[str, str]]:
        known: set[tuple[str, str]] = set()
        for start in range(0, len(ids), _LOOKUP_ROWS):
            result = connection.execute(self._known_spans, {"ids": ids[start : start + _LOOKUP_ROWS]})
            known.update((row[0], row[1]) for row in result)
        return known


def _result(rows: int, stored: int, rejected: _Rejected) -> WriteResult:
    rejected.sort()
    return WriteResult(
        stored=stored,
        unchanged=rows - stored - len(rejected),
        rejected=tuple((one.place, one.reason) for one in rejected),
        lost=tuple(one.place for one in rejected if one.is_lost),
    )


def _best_versions(rows: Sequence[Row]) -> list[tuple[int, ExecutionRecord]]:
    """Per execution the version that knows most: a start and its end in one batch are one insert."""
    best: dict[str, tuple[int, ExecutionRecord]] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, ExecutionRecord):
            continue
        key = convert.identity(row)
        held = best.get(key)
        if held is None or _knows_more(row, held[1]):
            best[key] = (index, row)
    return list(best.values())


def _knows_more(row: ExecutionRecord, held: ExecutionRecord) -> bool:
    try:
        return row.rank > held.rank
    except TypeError:
        return False


def _reason(error: BaseException) -> str:
    cause = driver_error(error)
    return f"{type(cause).__name__}: {cause}"
