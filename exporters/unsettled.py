"""Unsettled: the newest version of each record that is on its way to the store; so that a read by id is never behind.

Bounded by count and bytes: when a store is away for long, the oldest leave (they are in the spool, not lost).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_tracker.record import Row

_MAX_RECORDS: Final = 10_000
_MAX_BYTES: Final = 16 << 20


class Unsettled:
    """A bounded, thread-safe map from execution id to its newest record."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[ExecutionRecord, int]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, record: ExecutionRecord, size: int) -> None:
        """Remember a version; a lower rank never replaces a higher one."""
        with self._lock:
            known = self._records.pop(record.id, None)
            if known is not None:
                self._bytes -= known[1]
                if known[0].rank > record.rank:
                    record, size = known
            self._records[record.id] = (record, size)
            self._bytes += size
            while len(self._records) > _MAX_RECORDS or (self._bytes > _MAX_BYTES and len(self._records) > 1):
                oldest = next(iter(self._records))
                self._bytes -= self._records.pop(oldest)[1]

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The newest version on its way, or None."""
        known = self._records.get(execution_id)
        return known[0] if known else None

    def settle(self, rows: Iterable[Row]) -> None:
        """Forget what the store now has."""
        with self._lock:
            for row in rows:
                if isinstance(row, ExecutionRecord):
                    known = self._records.get(row.id)
                    if known is not None and known[0].rank <= row.rank:
                        self._bytes -= self._records.pop(row.id)[1]
