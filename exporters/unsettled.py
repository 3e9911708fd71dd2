"""Unsettled: the newest version of each record that is on its way to the store; so that a read by id is never behind.

Bounded by count and bytes: when a store is away for long, the oldest leave (they are in the spool, not lost).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from otel_tracker.record import ExecutionRecord

_MAX_RECORDS: Final = 10_000
_MAX_BYTES: Final = 8 << 20


class _OnItsWay(NamedTuple):
    record: ExecutionRecord
    size: int
    sequence: int


class Unsettled:
    """A bounded, thread-safe map from execution id to its newest record."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _OnItsWay] = OrderedDict()  # a plain dict finds its first key slowly
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, record: ExecutionRecord, *, size: int, sequence: int) -> None:
        """Remember a version that is frame `sequence` of the spool; a lower rank never replaces a higher one."""
        with self._lock:
            known = self._records.pop(record.id, None)
            if known is not None:
                self._bytes -= known.size
                if known.record.rank > record.rank:
                    record, size = known.record, known.size
            self._records[record.id] = _OnItsWay(record, size, sequence)
            self._bytes += size
            while len(self._records) > _MAX_RECORDS or (self._bytes > _MAX_BYTES and len(self._records) > 1):
                self._forget_oldest()

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The newest version on its way, or None."""
        known = self._records.get(execution_id)
        return known.record if known else None

    def of_traces(self, trace_ids: Container[str]) -> dict[str, ExecutionRecord]:
        """For each of these traces the first record on its way, where there is one."""
        with self._lock:
            records = [known.record for known in self._records.values()]
        found: dict[str, ExecutionRecord] = {}
        for record in records:
            if record.trace_id in trace_ids:
                found.setdefault(record.trace_id, record)
        return found

    def settle(self, delivered: int) -> None:
        """Forget what the store has: frames up to this number."""
        with self._lock:
            while self._records and next(iter(self._records.values())).sequence <= delivered:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._bytes -= self._records.popitem(last=False)[1].size
