"""The retention: by age, by count and by bytes, in small transactions with pauses in which others write.

In: a `RetentionPolicy`. Out: a `PruneResult`; what it is about is deleted with children, and the space goes back to the
disk. One DELETE of half a million rows blocked a writer for 18.7 s; here each transaction holds the database for about
15 ms (`pace`), and the pause after it is as long. One process does it at a time (`lease`). What is cut short is done
the next time, from where it stopped. So is what a power cut takes back: no transaction waits for the disk, those of
others, which do, take along what went before. Pending and running executions are never touched.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from otel_tracker.errors import StorageError
from otel_tracker.query import PruneResult
from otel_tracker.storage import candidates, counting, orphans
from otel_tracker.storage.last_cleanup import LastCleanups
from otel_tracker.storage.lease import LEASE_SECONDS, Lease
from otel_tracker.storage.pace import Pace
from otel_tracker.storage.removal import MOST_BYTES, Removal, Removed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from otel_tracker.query import RetentionPolicy
    from otel_tracker.storage.agreed import Agreed
    from otel_tracker.storage.candidates import Position, Stage
    from otel_tracker.storage.engine import Database
    from otel_tracker.storage.rollups import Rollups

_LEASE: Final = "cleanup"
_LEAST_ROWS: Final = 100
"""Of a transaction; fewer where they hold more than `MOST_BYTES`."""
_DROPPED_BUCKETS: Final = 100
_READ_SECONDS: Final = 60.0
_LEAST_PAUSE_SECONDS: Final = 0.005
"""Who waits for an SQLite file looks every 2 ms whether it is free."""


class _StopError(Exception):
    """Somebody wants this run to end."""


class Retention:
    """Prunes one database."""

    def __init__(self, database: Database, rollups: Rollups) -> None:
        self._database = database
        self._rollups = rollups

    def prune(self, policy: RetentionPolicy, *, dry_run: bool, on_batch: Callable[[PruneResult], bool]) -> PruneResult:
        """Delete what the policy does not keep. `on_batch` is told the sums after each transaction; False ends it.

        Raises `CleanupRunningError` while another process does it.
        """
        if dry_run:
            return self._would_be(policy)
        lease = Lease(self._database, _LEASE)
        lease.take()
        run = _Run(self._database, self._rollups, lease, on_batch)
        try:
            with contextlib.suppress(_StopError):
                run.all(policy)
        finally:
            with contextlib.suppress(StorageError):
                run.end()
        return run.done

    def _would_be(self, policy: RetentionPolicy) -> PruneResult:
        with self._database.read(seconds=_READ_SECONDS) as connection:
            agreed = self._rollups.agreed(connection)
            deleted = counting.to_delete(connection, policy, width=agreed.width)
        over = 0 if policy.max_bytes is None else max(0, agreed.stored_bytes - policy.max_bytes)
        return PruneResult(deleted=deleted, removed_bytes=over, dry_run=True)


class _Run:
    """One run, which has the lease."""

    def __init__(
        self, database: Database, rollups: Rollups, lease: Lease, on_batch: Callable[[PruneResult], bool]
    ) -> None:
        self.done = PruneResult()
        self._database = database
        self._rollups = rollups
        self._lease = lease
        self._on_batch = on_batch
        self._removal = Removal(database.dialect, rollups)
        self._renewed_at = time.monotonic()
        self._began = time.time_ns()

    def all(self, policy: RetentionPolicy) -> None:
        if policy.started_before is not None:
            self._stage(candidates.started_before(policy.started_before))
            self._orphans(policy.started_before)
        with self._database.read(seconds=_READ_SECONDS) as connection:
            excess = counting.excess(counting.ended(connection), policy.max_executions_per_plugin)
        for plugin, most in excess.items():
            self._stage(candidates.of_plugin(plugin), most_rows=most)
        if policy.max_bytes is not None:
            for stage in candidates.by_worth():
                self._stage(stage, down_to=policy.max_bytes)
        with self._database.maintained() as engine:
            self._database.dialect.give_back(engine, pause=self._gave_back)

    def end(self) -> None:
        """Leave it to others, and tell what was done."""
        with self._database.write() as connection:
            LastCleanups(self._database).put(connection, self.done, began=self._began)
            self._lease.release(connection)

    def _stage(self, stage: Stage, *, most_rows: int | None = None, down_to: int | None = None) -> None:
        """Everything that fits, or so many, or until no more bytes than that are stored."""
        walk = _Walk(stage, down_to)
        pace = Pace(least=_LEAST_ROWS, most=candidates.PAGE)
        left = most_rows
        while page := self._page(walk):
            while page and left != 0:
                chunk = page[: pace.size if left is None else min(pace.size, left)]
                removed, seconds = self._batch(walk, chunk)
                if removed is None:
                    self._drop_empty()
                    return
                left = None if left is None else left - removed.rows
                pace.took(seconds, done=removed.passed)
                page = page[removed.passed :]
                self._tell(stage, removed)
                self._pause(seconds)
                self._checkpoint()
            self._drop_empty()
            if left == 0:
                return

    def _checkpoint(self) -> None:
        with self._database.maintained() as engine:
            seconds = self._database.dialect.checkpoint(engine)
        time.sleep(seconds)

    def _drop_empty(self) -> None:
        """Once a page: the rows of the rollups that count nothing harm nobody meanwhile."""
        touched = sorted(self._removal.touched)
        for start in range(0, len(touched), _DROPPED_BUCKETS):
            with self._database.write(synced=False) as connection:
                self._begin(connection)
                begun = time.monotonic()
                self._rollups.drop_empty(connection, set(touched[start : start + _DROPPED_BUCKETS]))
            self._pause(time.monotonic() - begun)
        self._removal.touched.clear()

    def _page(self, walk: _Walk) -> list[Position]:
        with self._database.read(seconds=_READ_SECONDS) as connection:
            if walk.stage.mark and walk.mark is None:
                walk.mark = self._rollups.agreed(connection).marks[walk.stage.mark]
            page = walk.stage.page(connection, after=walk.after, start=walk.mark or 0)
        if page:
            walk.after = page[-1]
        return page

    def _batch(self, walk: _Walk, chunk: list[Position]) -> tuple[Removed | None, float]:
        """One transaction, and for how long it held the database; None where there is nothing left to do."""
        with self._database.write(synced=False) as connection:
            agreed = self._begin(connection)
            begun = time.monotonic()
            most = MOST_BYTES if walk.down_to is None else min(MOST_BYTES, agreed.stored_bytes - walk.down_to)
            if most <= 0:
                return None, 0.0
            ids = [execution_id for _, execution_id in chunk]
            removed = self._removal.remove(connection, agreed, ids, stage=walk.stage, most_bytes=most)
            self._move_mark(connection, walk, agreed, chunk[removed.passed - 1][0])
        return removed, time.monotonic() - begun

    def _begin(self, connection: Connection) -> Agreed:
        agreed = self._rollups.begin(connection)
        self._lease.renew(connection)
        self._renewed_at = time.monotonic()
        return agreed

    def _move_mark(self, connection: Connection, walk: _Walk, agreed: Agreed, passed: int) -> None:
        """Unless somebody moved it back meanwhile, for what came in behind."""
        if walk.stage.mark and walk.mark == agreed.marks[walk.stage.mark] and passed > walk.mark:
            self._rollups.change(connection, {walk.stage.mark: passed})
            walk.mark = passed

    def _orphans(self, before: int) -> None:
        pace = Pace(least=_LEAST_ROWS, most=candidates.PAGE)
        for page in orphans.pages(self._database, before=before):
            rest = page
            while rest:
                chunk, rest = rest[: pace.size], rest[pace.size :]
                with self._database.write(synced=False) as connection:
                    agreed = self._begin(connection)
                    begun = time.monotonic()
                    size = orphans.remove(connection, agreed, chunk, database=self._database, rollups=self._rollups)
                seconds = time.monotonic() - begun
                pace.took(seconds, done=len(chunk))
                self._add(removed_bytes=size)
                self._pause(seconds)

    def _gave_back(self, seconds: float, freed: int) -> None:
        self._add(freed_bytes=freed)
        self._pause(seconds)
        if time.monotonic() - self._renewed_at > LEASE_SECONDS / 4:
            with self._database.write() as connection:
                self._begin(connection)

    def _tell(self, stage: Stage, removed: Removed) -> None:
        kind = "payloads_deleted" if stage.payloads_only else "deleted"
        self._add(removed_bytes=removed.bytes, **{kind: removed.rows})

    def _add(self, **figures: int) -> None:
        sums = {name: getattr(self.done, name) + more for name, more in figures.items()}
        self.done = msgspec.structs.replace(self.done, **sums)

    def _pause(self, worked_seconds: float) -> None:
        """As long as the work took: others get half of the time."""
        if not self._on_batch(self.done):
            raise _StopError
        time.sleep(max(worked_seconds, _LEAST_PAUSE_SECONDS))


class _Walk:
    """How far a stage is."""

    def __init__(self, stage: Stage, down_to: int | None) -> None:
        self.stage = stage
        self.down_to = down_to
        self.after: Position | None = None
        self.mark: int | None = None
        """As this run knows it; another in the database was put there by somebody else."""
