"""The proof of a copy: counts and hashes of all rows on both sides, and the names of what differs.

In: the histories of two databases, and the pruned rollups of both. Out: a `CopyCheck`. Rows are compared as the values
that Python sees, in the order of the source, so that the same history has the same hash in every database. What the
target's rollups say of its records is not compared with the source: it is recounted. Never writes.

`execution_payloads.rank` is left out, for it only guards the writer's upserts: the payload of an execution that was
concluded as interrupted has the rank of its start in the source, and that of the execution in a copy.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otel_tracker.query import RollupCheck
from otel_tracker.storage.histories import TABLES
from otel_tracker.storage.pruned import PRUNED_TABLES
from otel_tracker.storage.tables import payloads, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Table

    from otel_tracker.storage.histories import History, Rows
    from otel_tracker.storage.pruned import PrunedRollups

_SHOWN: Final = 100
_Values = tuple[Any, ...]


class TableCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One table on both sides."""

    table: str
    """Of the rollups' tables the rows of deleted records, of `settings` the width of the buckets."""
    source_rows: int
    target_rows: int
    source_sha256: str
    target_sha256: str

    @property
    def is_equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return (self.source_rows, self.source_sha256) == (self.target_rows, self.target_sha256)


class CopyDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What is not the same on both sides."""

    table: str
    key: str
    """The id of the execution; of rollups the start of the day, in nanoseconds."""
    difference: str
    """`missing in the target`, `unknown to the source` or `another value`."""


class CopyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Two stores compared."""

    tables: tuple[TableCheck, ...]
    differences: tuple[CopyDifference, ...]
    """The first hundred."""
    total_differences: int
    rollups: RollupCheck
    """The target's, recounted from the target's records."""

    @property
    def is_equal(self) -> bool:
        """Whether the target is a faithful copy."""
        return all(one.is_equal for one in self.tables) and not self.rollups.total_differences


class _Digest:
    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Sequence[_Values]) -> None:
        self.rows += len(rows)
        for row in rows:
            self._hash.update(msgspec.msgpack.encode(row))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Comparison:
    """Adds up both sides, batch by batch."""

    def __init__(self) -> None:
        names = [table.name for table in (*TABLES, *PRUNED_TABLES, settings)]
        self._sides = {name: (_Digest(), _Digest()) for name in names}
        self._differences: list[CopyDifference] = []
        self._total = 0

    def add(self, table: Table, source: Sequence[_Values], target: Sequence[_Values], *, key: str = "") -> None:
        """Rows of both sides in one order. `key` names them all; by default each is named by its first column."""
        for digest, rows in zip(self._sides[table.name], (source, target), strict=True):
            digest.add(rows)
        if source == target:
            return
        here, there = set(source) - set(target), set(target) - set(source)
        missing, unknown = ({key or str(row[0]) for row in rows} for rows in (here, there))
        for name in sorted(missing | unknown):
            self._note(str(table.name), name, missing=name in missing, unknown=name in unknown)

    def add_executions(self, ids: Sequence[str], source: Rows, target: Rows) -> None:
        """The rows of these executions, of every table."""
        place = {one: index for index, one in enumerate(ids)}
        for table in TABLES:
            self.add(table, _ordered(table, source[table.name], place), _ordered(table, target[table.name], place))

    def result(self, rollups: RollupCheck) -> CopyCheck:
        """What was found."""
        return CopyCheck(
            tables=tuple(_table_check(name, *sides) for name, sides in self._sides.items()),
            differences=tuple(self._differences),
            total_differences=self._total,
            rollups=rollups,
        )

    def _note(self, table: str, key: str, *, missing: bool, unknown: bool) -> None:
        self._total += 1
        if len(self._differences) < _SHOWN:
            one_sided = "missing in the target" if missing else "unknown to the source"
            difference = "another value" if missing and unknown else one_sided
            self._differences.append(CopyDifference(table=table, key=key, difference=difference))


def compare_executions(
    comparison: Comparison, source: History, target: History, *, advance: Callable[[int], None]
) -> None:
    """All of the source, then those that only the target has; `advance` is told how many were compared."""
    for ids in source.pages():
        for part in source.parts(ids):
            comparison.add_executions(part, source.rows(part), target.rows(part))
            advance(len(part))
    for strangers in unknown_to(source, target):
        for part in target.parts(strangers):
            comparison.add_executions(part, source.rows(part), target.rows(part))


def compare_pruned(comparison: Comparison, source: PrunedRollups, target: PrunedRollups) -> None:
    """The rollups of deleted records, and the width of the buckets."""
    for day in sorted(source.days() | target.days()):
        for table, here, there in zip(PRUNED_TABLES, source.of(day), target.of(day), strict=True):
            comparison.add(table, here, there, key=str(day))
    comparison.add(settings, [("bucket_nanoseconds", source.width)], [("bucket_nanoseconds", target.width)])


def unknown_to(source: History, target: History) -> Iterator[list[str]]:
    """The ids that only the target has."""
    for ids in target.pages():
        known = source.versions(ids)
        if strangers := [one for one in ids if one not in known]:
            yield strangers


def _ordered(table: Table, rows: Iterable[Sequence[Any]], place: dict[str, int]) -> list[_Values]:
    skipped = list(table.c).index(payloads.c.rank) if table is payloads else None
    values = (tuple(value for index, value in enumerate(row) if index != skipped) for row in rows)
    return sorted(values, key=lambda row: (place[row[0]], str(row[1])))


def _table_check(name: str, source: _Digest, target: _Digest) -> TableCheck:
    return TableCheck(
        table=str(name),
        source_rows=source.rows,
        target_rows=target.rows,
        source_sha256=source.hexdigest(),
        target_sha256=target.hexdigest(),
    )
