"""The rollups of one UTC day beside a recount of its records: what is equal, what differs, what cannot be known.

In: a connection, a day, the width of the store's buckets. Out: `RollupDifference`s. One statement reads records and
rollups, so both come from one snapshot in every database, whatever is written meanwhile. Never writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import literal_column, select, union_all

from otel_tracker.query import RollupDifference
from otel_tracker.storage.buckets import DAY_NANOSECONDS, NO_MINIMUM, Counted, Deltas, bounds, row_widths
from otel_tracker.storage.histogram import slots_in
from otel_tracker.storage.rollups import counted, started_in
from otel_tracker.storage.tables import SLOTS, rollup_durations, rollups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import ColumnElement, CompoundSelect, Table
    from sqlalchemy.engine import Connection

_FETCHED_ROWS: Final = 5_000
_RECORD, _COUNTS, _SLOTS = range(3)
_FIGURES: Final = ("total", "timed", "duration_sum", "duration_min", "duration_max")
_NOTHING: Final = (0, 0, 0, NO_MINIMUM, 0)
_zero: Final[ColumnElement[int]] = literal_column("0")
_no_text: Final[ColumnElement[str]] = literal_column("''")

_Group = tuple[int, int, str, str, str]
"""Width, start of the bucket, plugin, status, error type."""
_Slot = tuple[int, int, str, int]
"""Width, start of the bucket, plugin, slot."""


class DayComparison:
    """Reads on construction; then tells."""

    def __init__(self, connection: Connection, day: int, width: int) -> None:
        self.checked = 0
        """Executions whose records were counted."""
        self.unchecked = 0
        """Executions that the rollups count and whose records are gone."""
        self._groups: tuple[dict[_Group, tuple[int, ...]], ...] = ({}, {})
        self._slots: dict[_Slot, int] = {}
        deltas = Deltas(width)
        rows = connection.execute(_snapshot(day, width), execution_options={"yield_per": _FETCHED_ROWS})
        deltas.add(self._records(rows))
        self.differences = [*self._different_groups(deltas), *self._different_slots(deltas)]

    @property
    def differing_buckets(self) -> list[tuple[int, int]]:
        """Pairs of width and start, each once."""
        return sorted({(one.bucket_seconds * 1_000_000_000, one.bucket_start) for one in self.differences})

    def _records(self, rows: Iterable[Any]) -> Iterator[Counted]:
        """The records; rollups are put aside as they come."""
        for row in rows:
            kind, pruned, width, start, plugin_name, status, error_type, first, second, *_ = row
            if kind == _RECORD:
                self.checked += 1
                yield Counted(plugin_name, status, error_type, start, first, second)
            elif kind == _COUNTS:
                self._groups[pruned][width, start, plugin_name, status, error_type] = tuple(map(int, row[7:12]))
                self.unchecked += first if pruned and width == DAY_NANOSECONDS else 0
            elif not pruned:
                key = (width, start, plugin_name)
                self._slots.update({(*key, slot): total for slot, total in slots_in(first, map(int, row[8:]))})

    def _different_groups(self, deltas: Deltas) -> Iterator[RollupDifference]:
        recounted = {row[:5]: row[6:] for row in deltas.count_rows()}
        there, gone = self._groups
        for key in sorted(there.keys() | recounted.keys()):
            # What is deleted takes neither minimum nor maximum along: the two kinds of rows are told together.
            stored = _with_bounds(there.get(key, _NOTHING), gone.get(key, _NOTHING))
            expected = _with_bounds(recounted.get(key, _NOTHING), gone.get(key, _NOTHING))
            group = "/".join(filter(None, key[3:]))
            for figure, is_stored, is_expected in zip(_FIGURES, stored, expected, strict=True):
                if is_stored != is_expected:
                    yield _difference(key[:3], figure, group, stored=is_stored, expected=is_expected)

    def _different_slots(self, deltas: Deltas) -> Iterator[RollupDifference]:
        recounted = {(*row[:3], slot): total for row in deltas.slot_rows() for slot, total in slots_in(row[3], row[5:])}
        for key in sorted(self._slots.keys() | recounted.keys()):
            stored, expected = self._slots.get(key, 0), recounted.get(key, 0)
            if stored != expected:
                yield _difference(key[:3], "slot", str(key[3]), stored=stored, expected=expected)


def _with_bounds(figures: tuple[int, ...], gone: tuple[int, ...]) -> tuple[int, ...]:
    return (*figures[:3], min(figures[3], gone[3]), max(figures[4], gone[4]))


def _difference(key: tuple[int, int, str], figure: str, group: str, *, stored: int, expected: int) -> RollupDifference:
    width, start, plugin_name = key
    return RollupDifference(
        bucket_seconds=abs(width) // 1_000_000_000,
        bucket_start=start,
        plugin_name=plugin_name,
        figure=figure,
        group=group,
        stored=stored,
        counted=expected,
    )


def _snapshot(day: int, width: int) -> CompoundSelect[Any]:
    """Records, counts and histograms in one shape: what they are, whether pruned, their key, and nine figures."""
    records = counted(*started_in(day, DAY_NANOSECONDS)).subquery().c
    counts, slots = rollups.c, rollup_durations.c
    zeros = [_zero.label(f"figure_{number}") for number in range(2, 9)]
    return union_all(
        select(
            literal_column(str(_RECORD)).label("kind"), _zero.label("pruned"), _zero.label("width"),
            records.start_time.label("start"), records.plugin_name, records.status, records.error_type, records.rank,
            records.duration, *zeros,
        ),
        select(
            literal_column(str(_COUNTS)), counts.pruned, counts.width, counts.bucket_start, counts.plugin_name,
            counts.status, counts.error_type, counts.total, counts.timed, counts.duration_sum, counts.duration_min,
            counts.duration_max, *zeros[3:],
        ).where(*_in_day(rollups, day, width)),
        select(
            literal_column(str(_SLOTS)), slots.pruned, slots.width, slots.bucket_start, slots.plugin_name,
            _no_text, _no_text, slots.octave, *(slots[name] for name in SLOTS),
        ).where(*_in_day(rollup_durations, day, width)),
    )  # fmt: skip


def _in_day(table: Table, day: int, width: int) -> tuple[ColumnElement[bool], ...]:
    first, last = bounds(day, DAY_NANOSECONDS)
    return table.c.width.in_(row_widths(width)), table.c.bucket_start >= first, table.c.bucket_start <= last
