"""The retention as the bridge runs it: its bounds from the configuration, and each run in a process of its own.

In: bounds, and now. Out: a `PruneResult`. A run that is told to stop ends after the batch under way and answers what it
did until then. See `cleaning_worker` for what the process does.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from bridge_app.cleaning_messages import CleanupOrder, CleanupReport
from otel_tracker.errors import CleanupRunningError, StorageUnavailableError
from otel_tracker.query import PruneResult, RetentionPolicy

if TYPE_CHECKING:
    from bridge_app.config import Config

_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_STOP_SECONDS: Final = 3.0


class Bounds(NamedTuple):
    """What is kept."""

    days: int
    rollup_days: int
    max_executions_per_plugin: int | None = None
    max_bytes: int | None = None

    @classmethod
    def from_config(cls, config: Config) -> Bounds:
        """As configured."""
        tracking = config.execution_tracking
        return cls(
            days=config.retention_days(),
            rollup_days=tracking.rollup_retention_days,
            max_executions_per_plugin=tracking.max_executions_per_plugin,
            max_bytes=tracking.max_bytes,
        )

    def policy(self, *, now: int) -> RetentionPolicy:
        """All of them."""
        return RetentionPolicy(
            started_before=now - self.days * _DAY,
            max_executions_per_plugin=self.max_executions_per_plugin,
            max_bytes=self.max_bytes,
        )

    def rollups_before(self, *, now: int) -> int:
        """Statistics older than that nanosecond go."""
        return now - self.rollup_days * _DAY


def older_than(seconds: int, *, now: int) -> RetentionPolicy:
    """What is older goes, and nothing else."""
    return RetentionPolicy(started_before=now - seconds * _SECOND)


class Cleaner:
    """Runs the retention of one store. Thread-safe."""

    def __init__(self, store: dict[str, str | int | float | bool], bounds: Bounds) -> None:
        self.bounds = bounds
        self.skipped = 0
        """Runs of `by_itself` that were left to another process."""
        self.runs = self.deleted = self.payloads_deleted = self.freed_bytes = 0
        """Runs that came to their end, and what they removed; dry runs do not count."""
        self._store = store
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopping = False

    def by_itself(self, *, now: int) -> None:
        """What the configuration says, unless another process does it already."""
        try:
            self.run(now=now)
        except CleanupRunningError:
            self.skipped += 1

    def run(self, *, now: int, older_than_seconds: int | None = None, dry_run: bool = False) -> PruneResult:
        """What the configuration says, or only what is older than so many seconds.

        Raises `CleanupRunningError`, `StorageUnavailableError`.
        """
        if older_than_seconds is None:
            policy, rollups_before = self.bounds.policy(now=now), self.bounds.rollups_before(now=now)
            order = CleanupOrder(store=self._store, policy=policy, rollups_before=rollups_before, dry_run=dry_run)
        else:
            order = CleanupOrder(store=self._store, policy=older_than(older_than_seconds, now=now), dry_run=dry_run)
        report = self._carry_out(order)
        if report.holder:
            raise CleanupRunningError(report.holder, report.seconds)
        if report.result is None:
            raise StorageUnavailableError(report.why)
        self._count(report.result)
        return report.result

    def _count(self, result: PruneResult) -> None:
        if not result.dry_run:
            with self._lock:
                self.runs += 1
                self.deleted += result.deleted
                self.payloads_deleted += result.payloads_deleted
                self.freed_bytes += result.freed_bytes

    def begin_stop(self) -> None:
        """Have what runs end after the batch under way; nothing is begun any more. It does not wait."""
        with self._lock:
            self._is_stopping = True
            for process in self._running:
                process.terminate()

    def stop(self) -> None:
        """The same, and wait for it."""
        self.begin_stop()
        for process in list(self._running):
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its transaction is rolled back, and its lease runs out

    def _carry_out(self, order: CleanupOrder) -> CleanupReport:
        # -P: a folder or file of the user's that happens to be named like a module of ours must not be run.
        command = [sys.executable, "-P", "-m", "bridge_app.cleaning_worker"]
        pipe = subprocess.PIPE
        with self._lock:
            if self._is_stopping:
                return CleanupReport(why="the bridge is stopping")
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)  # noqa: S603 - our own
            self._running.add(process)
        try:
            with contextlib.suppress(BrokenPipeError):
                line, _ = process.communicate(msgspec.json.encode(order) + b"\n")
                if line.endswith(b"\n"):
                    return msgspec.json.decode(line, type=CleanupReport)
            return CleanupReport(why=f"the cleanup process ended (exit status {process.wait()})")
        finally:
            with self._lock:
                self._running.discard(process)
