"""A store's executions in batches, whole: each with its payload, its tags and its child spans.

In: a database, and the nanosecond before which an execution must have started. Out: pages of ids, and the rows of an
id as the tables hold them. Spans that were delivered without their execution count as one that has only spans. A page
is bounded by ids, a part of it by characters, so memory does not grow with the history. Never writes.
"""

from __future__ import annotations

from collections import Counter
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select

from otel_tracker.storage.rows import execution_from, span_from
from otel_tracker.storage.tables import executions, payloads, spans, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Row as SqlRow
    from sqlalchemy import Select, Table

    from otel_tracker.record import Row
    from otel_tracker.storage.engine import Database

PAGE_IDS: Final = 250
PART_CHARACTERS: Final = 4_000_000
"""Of payloads and spans; an execution that has more is a part of its own."""
READ_SECONDS: Final = 60.0
"""For one page or part: nobody waits for it over HTTP."""
TABLES: Final = (executions, payloads, tags, spans)
"""Of an execution; the first column of each is its id."""
_SPAN_CHARACTERS: Final = 200
"""What a span takes beside its long texts."""
_PAYLOAD_TEXTS: Final = ("input", "output", "traceback", "logs", "metadata", "span")
_SPAN_TEXTS: Final = ("name", "error", "attributes", "events", "span")

Rows = dict[str, list["SqlRow[Any]"]]
"""By the name of the table."""


class Version(NamedTuple):
    """How much a store knows of an execution: another store that has the same numbers needs nothing."""

    rank: int
    """-1 where it knows spans only."""
    spans: int


UNKNOWN: Final = Version(rank=-1, spans=0)


class History:
    """What a database holds of executions that started before a moment."""

    def __init__(self, database: Database, *, started_before: int) -> None:
        self._database = database
        self._started_before = started_before

    def pages(self) -> Iterator[list[str]]:
        """The ids of all executions by start time, then those of lost spans."""
        last: SqlRow[Any] | None = None
        while found := self._all(self._next(last)):
            yield [row.id for row in found]
            last = found[-1]
        yield from self._lost()

    def versions(self, ids: Sequence[str]) -> dict[str, Version]:
        """Of those that are known."""
        ranked = self._among(select(executions.c.id, executions.c.rank), executions.c.id, ids)
        counted = select(spans.c.execution_id, func.count().label("spans")).group_by(spans.c.execution_id)
        counts = {row.execution_id: row.spans for row in self._among(counted, spans.c.execution_id, ids)}
        known = {one: Version(-1, count) for one, count in counts.items()}
        return known | {row.id: Version(row.rank, counts.get(row.id, 0)) for row in ranked}

    def parts(self, ids: Sequence[str]) -> Iterator[list[str]]:
        """The same ids in the same order, in lists whose rows fit into memory."""
        sizes = self._sizes(ids)
        part: list[str] = []
        size = 0
        for one in ids:
            if part and size + sizes[one] > PART_CHARACTERS:
                yield part
                part, size = [], 0
            part.append(one)
            size += sizes[one]
        yield part

    def rows(self, ids: Sequence[str]) -> Rows:
        """Of every table, in no order. The execution is read first: what was read of it later is never older."""
        return {table.name: self._among(select(table), next(iter(table.c)), ids) for table in TABLES}

    def _next(self, last: SqlRow[Any] | None) -> Select[Any]:
        table = executions.c
        found = select(table.start_time, table.id).where(table.start_time < self._started_before)
        if last is not None:
            later = or_(
                table.start_time > last.start_time, and_(table.start_time == last.start_time, table.id > last.id)
            )
            # The plain bound comes first: an index can seek to it, which it cannot for the OR.
            found = found.where(table.start_time >= last.start_time, later)
        return found.order_by(table.start_time, table.id).limit(PAGE_IDS)

    def _lost(self) -> Iterator[list[str]]:
        """Ids of spans without an execution: all are walked, for a join of the whole tables has no bound in time."""
        key = spans.c.execution_id
        walk = select(key, func.min(spans.c.start_time).label("first")).group_by(key).order_by(key).limit(PAGE_IDS)
        found = self._all(walk)
        while found:
            started = [row.execution_id for row in found if row.first < self._started_before]
            owned = {row.id for row in self._among(select(executions.c.id), executions.c.id, started)}
            if lost := [one for one in started if one not in owned]:
                yield lost
            found = self._all(walk.where(key > found[-1].execution_id))

    def _sizes(self, ids: Sequence[str]) -> Counter[str]:
        of_payload = _characters(payloads, _PAYLOAD_TEXTS)
        of_spans = func.sum(_characters(spans, _SPAN_TEXTS)) + _SPAN_CHARACTERS * func.count()
        payload, span = payloads.c.execution_id, spans.c.execution_id
        sizes: Counter[str] = Counter()
        for key, statement in (
            (payload, select(payload, of_payload.label("characters"))),
            (span, select(span, of_spans.label("characters")).group_by(span)),
        ):
            for row in self._among(statement, key, ids):
                sizes[row.execution_id] += int(row.characters)
        return sizes

    def _among(self, statement: Select[Any], key: ColumnElement[str], ids: Sequence[str]) -> list[SqlRow[Any]]:
        return self._all(statement.where(self._database.dialect.among(key)), ids=list(ids)) if ids else []

    def _all(self, statement: Select[Any], **parameters: Any) -> list[SqlRow[Any]]:
        with self._database.read(seconds=READ_SECONDS) as connection:
            return list(connection.execute(statement, parameters))


def _characters(table: Table, names: Sequence[str]) -> ColumnElement[int]:
    return reduce(add, (func.length(table.c[name]) for name in names))


def records(rows: Rows) -> Iterable[Row]:
    """The same as a store's writer takes them."""
    by_id = {row.execution_id: row._asdict() for row in rows[payloads.name]}
    for row in rows[executions.name]:
        yield execution_from(row._asdict(), by_id.get(row.id))
    for row in rows[spans.name]:
        yield span_from(row._asdict())
