"""Copying: a store's history into another store, of whatever database; resumable, repeatable, proven at the end.

In: two open stores and a moment: what started later is left out. Out: the target's tables, and a `CopyResult`. The
source is only read. What the target has as well as the source is not written again: a copy that was cut short goes on
where it stopped, and a version that knows more replaces the one that was copied before. The target's own writer counts
the rollups of what it stores; only those of deleted records are carried over. Nothing is ever deleted from the target:
one that has executions which the source does not have is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy.exc import DBAPIError

from otel_tracker.errors import StorageError, StorageSchemaError
from otel_tracker.storage.dialects import driver_error
from otel_tracker.storage.fidelity import Comparison, CopyCheck, compare_executions, compare_pruned, unknown_to
from otel_tracker.storage.histories import UNKNOWN, History, records
from otel_tracker.storage.pruned import PrunedRollups
from otel_tracker.storage.rows import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_tracker.storage.store import SqlStore

ROUNDS: Final = 3
"""How often what differs is copied anew: executions that end during the comparison would else be told as different."""
_NAMED_REJECTIONS: Final = 100


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy did, and how the two stores compare now."""

    written: int
    """Executions and spans that were new to the target or known better, and days of pruned rollups that differed."""
    rejected: tuple[str, ...]
    """Executions of which the target refused a row, and why: the first hundred."""
    check: CopyCheck


class HistoryCopy:
    """One source, one target. Every method raises `StorageUnavailableError` where one of them cannot serve."""

    def __init__(self, source: SqlStore, target: SqlStore, *, started_before: int) -> None:
        """Raises `StorageSchemaError` where both are the same database, or have buckets of different widths."""
        self._target_store = target
        self._source = History(source.database, started_before=started_before)
        self._target = History(target.database, started_before=started_before)
        self._source_pruned = PrunedRollups(source.database, source.rollups)
        self._target_pruned = PrunedRollups(target.database, target.rollups)
        self._location = target.database.dialect.location
        self._rejected: dict[str, str] = {}
        _require_two_databases(source, target)

    def run(self, *, advance: Callable[[str, int], None]) -> CopyResult:
        """Copy, compare, and copy what changed meanwhile. `advance` is told what is done, and of how many executions.

        Raises `StorageSchemaError` for a target that is no earlier copy; it is not changed then.
        """
        self._require_fitting_target()
        written = 0
        for _ in range(ROUNDS):
            new = self._copy(lambda count: advance("copying", count))
            check = self.verify(advance=advance)
            written += new
            if check.is_equal or not new:
                break
        return CopyResult(
            written=written, rejected=tuple(f"{one}: {why}" for one, why in self._rejected.items()), check=check
        )

    def verify(self, *, advance: Callable[[str, int], None]) -> CopyCheck:
        """Compare every row, and recount the target's rollups."""
        comparison = Comparison()
        compare_executions(comparison, self._source, self._target, advance=lambda count: advance("comparing", count))
        compare_pruned(comparison, self._source_pruned, self._target_pruned)
        return comparison.result(self._target_store.verify_rollups())

    def _require_fitting_target(self) -> None:
        if self._source_pruned.width != self._target_pruned.width:
            raise StorageSchemaError(
                f"{self._location} has statistics in buckets of {self._target_pruned.width // 1_000_000_000} s, the "
                f"source of {self._source_pruned.width // 1_000_000_000} s: name an empty database"
            )
        for strangers in unknown_to(self._source, self._target):
            raise StorageSchemaError(
                f"{self._location} has executions that the source does not have, such as {strangers[0]}: it is no copy "
                "of it, or they were deleted from the source since; name an empty database, or delete them there too "
                "with `webhook-bridge cleanup`"
            )

    def _copy(self, advance: Callable[[int], None]) -> int:
        written = 0
        for ids in self._source.pages():
            wanted = self._wanted(ids)
            for part in self._source.parts(wanted) if wanted else ():
                written += self._write(part)
                advance(len(part))
            advance(len(ids) - len(wanted))
        return written + self._copy_pruned()

    def _wanted(self, ids: Sequence[str]) -> list[str]:
        """Those of which the source knows more than the target."""
        here, there = self._source.versions(ids), self._target.versions(ids)
        pairs = ((one, here.get(one, UNKNOWN), there.get(one, UNKNOWN)) for one in ids)
        return [one for one, source, target in pairs if source.rank > target.rank or source.spans > target.spans]

    def _write(self, ids: Sequence[str]) -> int:
        """One transaction of the target."""
        rows = list(records(self._source.rows(ids)))
        try:
            result = self._target_store.write(rows)
        except DBAPIError as error:
            raise StorageError(f"{self._location} does not take {ids[0]} and others: {driver_error(error)}") from error
        for index, reason in result.rejected:
            if len(self._rejected) < _NAMED_REJECTIONS:
                self._rejected[identity(rows[index])] = reason
        return result.stored

    def _copy_pruned(self) -> int:
        """How many days were not the same."""
        changed = 0
        for day in sorted(self._source_pruned.days() | self._target_pruned.days()):
            rows = self._source_pruned.of(day)
            if rows != self._target_pruned.of(day):
                self._target_pruned.replace(day, rows)
                changed += 1
        return changed


def _require_two_databases(source: SqlStore, target: SqlStore) -> None:
    if _identity(source) == _identity(target):
        location = target.database.dialect.location
        raise StorageSchemaError(f"{location} is the store that is to be copied: name another database")


def _identity(store: SqlStore) -> tuple[object, ...]:
    with store.database.read() as connection:
        return (store.database.dialect.name, *store.database.dialect.identity(connection))
