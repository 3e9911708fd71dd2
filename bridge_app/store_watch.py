"""StoreWatch: what a store says of itself too slowly, or only over time, looked up beforehand by a daemon.

In: the store, now and then. Out: bytes of each table, and growth. Who asks over HTTP never waits for it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from bridge_app.growth import Growth
from otel_tracker.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_tracker.ports import ExecutionStore

LOOK_EVERY_SECONDS: Final = 60.0
_TABLES_EVERY_SECONDS: Final = 3_600.0
"""SQLite reads its whole file for it: 0.7 s for a file of 900 MB that is in memory, longer from a disk."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a store since the start of the process."""

    tables: dict[str, int] | None = None
    """Bytes by table, at most an hour old; None before the first look, and where the database cannot tell."""
    growth_per_day: int | None = None
    """Bytes; None in the first hour."""


class StoreWatch:
    """Looks at the store that `store` gives; where that raises StorageUnavailableError, the next look may succeed."""

    def __init__(self, store: Callable[[], ExecutionStore]) -> None:
        self._store = store
        self._growth = Growth()
        self._tables: dict[str, int] | None = None
        self._tables_at = float("-inf")

    @property
    def seen(self) -> Seen:
        """What is known by now."""
        return Seen(tables=self._tables, growth_per_day=self._growth.per_day)

    def look(self) -> None:
        """Once a minute, in a thread that may wait."""
        with contextlib.suppress(StorageUnavailableError):
            store, now = self._store(), time.monotonic()
            self._growth.see(store.info().size, now=now)
            if now - self._tables_at >= _TABLES_EVERY_SECONDS:
                self._tables = store.table_sizes()
                self._tables_at = now
