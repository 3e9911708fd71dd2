"""Buckets of time, and what executions add to the rollups of theirs. Pure: no connection, no clock.

In: executions as the store counts them. Out: rows of signed deltas for `tables.rollups` and `tables.rollup_durations`,
sorted by key, so that writers who meet lock rows in one order. An execution counts in two buckets that start at or
before its start time: one of the store's own width, and one of a UTC day, so that long periods cost few rows.

Durations count only of executions whose end was told (`Rank.ENDED`, and a final status). No version replaces that one,
so no duration is ever taken back, and minima and maxima need never shrink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from otel_tracker.record import Rank, Status
from otel_tracker.storage.histogram import SLOTS_PER_OCTAVE, slot_of

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_NANOSECONDS: Final = 86_400_000_000_000
MAX_DURATION: Final = 2**53
"""Nanoseconds, 104 days: what is longer counts as this, what is negative as 0, so that sums stay within 64 bits."""
NO_MINIMUM: Final = MAX_DURATION
"""`duration_min` where nothing was timed: the neutral element of least, as 0 is of greatest."""
_INT64: Final = 2**63
_ENDED: Final = int(Rank.ENDED)
_OPEN: Final = (Status.PENDING.value, Status.RUNNING.value)

_KeyT = TypeVar("_KeyT")
_Counts = dict[tuple[int, str, str, str], list[int]]
_Slots = dict[tuple[int, str, int], int]
CountRow = tuple[int, int, str, str, str, int, int, int, int, int, int]
"""In the order of `tables.rollups`."""
SlotRow = tuple[int, int, str, int, int, int, int, int, int, int, int, int, int]
"""In the order of `tables.rollup_durations`."""


class Counted(NamedTuple):
    """What the rollups know of one version of an execution."""

    plugin_name: str
    status: str
    error_type: str
    start_time: int
    rank: int
    duration: int


def bucket_of(start_time: int, width: int) -> int:
    """The start of the bucket of that width, in nanoseconds; the earliest that 64 bits can tell takes what is before.

    >>> bucket_of(-1, 10), bucket_of(19, 10)
    (-10, 10)
    """
    return max(start_time // width * width, -(_INT64 // width) * width)


def bounds(bucket: int, width: int) -> tuple[int, int]:
    """The first and the last start time of the bucket; both belong to it."""
    is_earliest = bucket_of(bucket - 1, width) == bucket
    return -_INT64 if is_earliest else bucket, min(bucket + width, _INT64) - 1


def widths(bucket_nanoseconds: int) -> tuple[int, ...]:
    """Those that a store with such buckets keeps, the finest first."""
    return tuple(sorted({bucket_nanoseconds, DAY_NANOSECONDS}))


def of_all(width: int) -> int:
    """What `tables.rollup_durations` has as the width of rows that hold the durations of all plugins together."""
    return -width


def row_widths(bucket_nanoseconds: int) -> tuple[int, ...]:
    """Every width that rows of such a store have."""
    kept = widths(bucket_nanoseconds)
    return (*kept, *map(of_all, kept))


class Deltas:
    """What a transaction changes: counted per bucket in memory, then told as rows."""

    def __init__(self, bucket_nanoseconds: int, *, told: tuple[int, ...] = ()) -> None:
        """`told` are the widths of the rows, by default all that a store keeps; multiples of the first."""
        self._width = bucket_nanoseconds
        self._told = told or widths(bucket_nanoseconds)
        self._known: dict[int, list[tuple[int, int]]] = {}
        self._sides: dict[int, tuple[_Counts, _Slots]] = {0: ({}, {}), 1: ({}, {})}

    def add(self, executions: Iterable[Counted], *, sign: int = 1, pruned: bool = False) -> None:
        """Count them in; with `sign=-1` out. `pruned` counts those whose records are gone."""
        counts, slots = self._sides[pruned]
        first, last, bucket = 0, -1, 0
        for plugin_name, status, error_type, start_time, rank, duration in executions:
            if not first <= start_time <= last:  # most are of the same bucket as the one before
                bucket = bucket_of(start_time, self._width)
                first, last = bounds(bucket, self._width)
            sums = _sums(counts, (bucket, plugin_name, status, error_type))
            sums[0] += sign
            if rank != _ENDED or status in _OPEN:
                continue
            took = min(max(duration, 0), MAX_DURATION)
            sums[1] += sign
            sums[2] += sign * took
            if sign > 0:
                sums[3] = min(sums[3], took)
                sums[4] = max(sums[4], took)
            key = (bucket, plugin_name, slot_of(took))
            slots[key] = slots.get(key, 0) + sign

    def move_to_pruned(self, executions: Iterable[Counted]) -> None:
        """Their records are deleted: they go on counting, apart from those that can be recounted."""
        gone = list(executions)
        self.add(gone, sign=-1)
        self.add(gone, pruned=True)

    def count_rows(self) -> list[CountRow]:
        """Counts, sums, minima and maxima of every width."""
        found: dict[tuple[int, int, str, str, str, int], list[int]] = {}
        for pruned, (counts, _) in self._sides.items():
            for (bucket, plugin_name, status, error_type), sums in counts.items():
                for width, start in self._buckets(bucket):
                    _fold(_sums(found, (width, start, plugin_name, status, error_type, pruned)), sums)
        return sorted((*key, *sums) for key, sums in found.items() if sums[0] or sums[1])  # type: ignore[misc]

    def slot_rows(self) -> list[SlotRow]:
        """Histograms of every width: of each plugin, and of all together."""
        found: dict[tuple[int, int, str, int, int], list[int]] = {}
        for pruned, (_, slots) in self._sides.items():
            for (bucket, plugin_name, slot), total in slots.items():
                octave, index = divmod(slot, SLOTS_PER_OCTAVE)
                for width, start in self._buckets(bucket):
                    _totals(found, (width, start, plugin_name, octave, pruned))[index] += total
                    _totals(found, (of_all(width), start, "", octave, pruned))[index] += total
        return sorted((*key, *totals) for key, totals in found.items() if any(totals))  # type: ignore[misc]

    def buckets(self) -> set[tuple[int, int]]:
        """Width and start of all in which something counts."""
        return {one for counts, _ in self._sides.values() for key in counts for one in self._buckets(key[0])}

    def _buckets(self, bucket: int) -> list[tuple[int, int]]:
        """Width and start of those that a bucket counts in; few, and asked for again and again."""
        known = self._known.get(bucket)
        if known is None:
            known = self._known[bucket] = [(width, bucket_of(bucket, width)) for width in self._told]
        return known


def _sums(found: dict[_KeyT, list[int]], key: _KeyT) -> list[int]:
    sums = found.get(key)
    if sums is None:
        sums = found[key] = [0, 0, 0, NO_MINIMUM, 0]
    return sums


def _totals(found: dict[_KeyT, list[int]], key: _KeyT) -> list[int]:
    totals = found.get(key)
    if totals is None:
        totals = found[key] = [0] * SLOTS_PER_OCTAVE
    return totals


def _fold(into: list[int], sums: list[int]) -> None:
    for index in range(3):
        into[index] += sums[index]
    into[3] = min(into[3], sums[3])
    into[4] = max(into[4], sums[4])
