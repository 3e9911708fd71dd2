"""History: the record path of one process put together: spool, exporter, store, recovery, retention.

It comes up whether or not the store does. While the store is away the spool keeps the records and this keeps trying;
once it is there, what dead processes left behind is taken in, and their running executions are ended as interrupted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from bridge_app.realtime import Realtime
from exporters.spool import Spool, orphans
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.conversion import record_from_span
from otel_tracker.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from exporters.spooled import Receipt
    from otel_tracker.ports import ExecutionStore
    from otel_tracker.query import PruneResult
    from otel_tracker.record import ExecutionRecord

logger = logging.getLogger("bridge_app.history")
_RETRY_SECONDS: Final = 1.0
_DAY: Final = 86_400_000_000_000
DURABLE_WITHIN_SECONDS: Final = 0.05
"""How long an answer waits for the group commit before it says `process` instead of `disk`."""


class History:
    """Everything between an ended span and an answer from the store."""

    def __init__(
        self,
        *,
        open_store: Callable[[], ExecutionStore],
        spool_root: Path,
        spool_max_bytes: int,
        sync: bool,
        instance_id: str,
        retention_days: int,
    ) -> None:
        self.instance_id = instance_id
        self.retention_days = retention_days
        self.realtime = Realtime()
        self.adopted = 0
        self.interrupted = 0
        self._open_store = open_store
        self._spool_root = spool_root
        self._spool = Spool.open(spool_root, instance_id=instance_id, max_bytes=spool_max_bytes, sync=sync)
        self.exporter = ExecutionRecordExporter()
        self.spooled = SpooledSpanExporter(self.exporter, self._spool)
        self.answers = DurableAnswers(self._spool, sync=sync)
        self._store: ExecutionStore | None = None
        self._why = "it is not open yet"
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="storage-keeper", daemon=True)

    def start(self) -> None:
        """Open the store (or say why not, and keep trying), then drain."""
        self._try_open(first=True)
        self.spooled.start()
        self._keeper.start()

    @property
    def store(self) -> ExecutionStore:
        """The store; raises StorageUnavailableError while it is away."""
        if self._store is None:
            raise StorageUnavailableError(f"The history cannot be read now: {self._why}")
        return self._store

    @property
    def is_open(self) -> bool:
        """Whether the store was opened."""
        return self._store is not None

    @property
    def why_closed(self) -> str:
        """Why the store is away; empty while it is there."""
        return "" if self._store else self._why

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The record as it is this moment, stored or on its way."""
        fresh = self.exporter.unsettled.get(execution_id) or self._starting(execution_id)
        if fresh is not None and fresh.status.is_final:
            return fresh
        stored = self.store.get(execution_id)
        return max((r for r in (stored, fresh) if r is not None), key=lambda r: r.rank, default=None)

    def _starting(self, execution_id: str) -> ExecutionRecord | None:
        span = self.spooled.starting(lambda span: (span.attributes or {}).get(EXECUTION_ID) == execution_id)
        return record_from_span(span) if span else None

    def prune(self, *, now: int) -> PruneResult:
        """Delete what is older than the retention."""
        return self.store.prune(started_before=now - self.retention_days * _DAY)

    def spool_json(self) -> dict[str, Any]:
        """How much is on its way, and what was lost and why."""
        depth = self._spool.depth
        return {
            "frames": depth.frames,
            "bytes": depth.bytes,
            "oldest_age_seconds": round(depth.oldest_age_seconds, 3),
            "dropped": dict(self._spool.dropped),
            "corrupt_frames": self._spool.corrupt_frames,
            "rejected": self.spooled.rejected,
            "delivered": self.spooled.delivered,
            "last_error": self.spooled.last_error,
        }

    def close(self, *, drain_seconds: float = 3.0) -> None:
        """Flush the spool, drain for so long, release the store. What is left is taken in at the next start."""
        self._stopping.set()
        self.spooled.shutdown(timeout_seconds=drain_seconds)
        if self._keeper.is_alive():
            self._keeper.join(1.0)
        if self._store is not None:
            self._store.close()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._store is None:
                    self._try_open(first=False)
                if self._store is not None:
                    self._adopt(self._store)
            except StorageError as error:
                logger.warning("Taking in what dead processes left was put off: %s", error)
            except Exception:
                logger.exception("Taking in what dead processes left failed; it is tried again")
            self._stopping.wait(_RETRY_SECONDS if self._store is None else 5.0)

    def _try_open(self, *, first: bool) -> None:
        try:
            store = self._open_store()
        except StorageError as error:
            if first or str(error) != self._why:
                logger.error("Failed to initialize storage: %s", error)  # noqa: TRY400 - the reason is the message
                logger.error("Execution tracking will be disabled")  # noqa: TRY400 - the reason is the message
            self._why = str(error)
            return
        self._store = store
        self.exporter.use(store)
        logger.info("Execution storage initialized successfully")

    def _adopt(self, store: ExecutionStore) -> None:
        for orphan in orphans(self._spool_root):
            try:
                while (batch := orphan.read(max_frames=512, max_bytes=4 << 20)).frames:
                    for index, reason in self.exporter.deliver(batch.frames).rejected:
                        orphan.bury(batch.frames[index], reason=reason)
                    orphan.commit(batch.end)
                    self.adopted += len(batch.frames)
                interrupted = store.interrupt(orphan.instance_id, now=time.time_ns())
            except BaseException:
                orphan.release()
                raise
            self.interrupted += interrupted
            logger.info("Took in the spool of %s: %d executions were interrupted", orphan.instance_id, interrupted)
            orphan.remove()


class DurableAnswers:
    """Lets coroutines wait for the group commit: one wake-up of the event loop per commit, not per waiter."""

    def __init__(self, spool: Spool, *, sync: bool) -> None:
        self._spool = spool
        self._sync = sync
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        spool.on_progress(self._progressed)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the coroutines of this loop."""
        self._loop = loop

    async def durability(self, receipt: Receipt, *, wanted: str) -> str:
        """`disk`, `process` or `none`: what this execution's record has reached, after at most 50 ms."""
        sequence = receipt.sequence
        if sequence is None or self._loop is None:
            return "none"
        if (self._spool.synced if wanted == "disk" else self._spool.written) < sequence:
            await self._wait(sequence)
        if wanted == "disk" and self._spool.synced >= sequence:
            return "disk"
        return "process" if self._spool.written >= sequence else "none"

    async def _wait(self, sequence: int) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 - narrows a type; cannot be false
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((sequence, future))
        timer = loop.call_later(DURABLE_WITHIN_SECONDS, self._give_up, future)
        self._release()  # the commit may have come between the check and the queue
        try:
            await future
        finally:
            timer.cancel()

    def _progressed(self, _synced: int) -> None:
        loop = self._loop
        if loop is not None and self._waiting:
            try:
                loop.call_soon_threadsafe(self._release)
            except RuntimeError:  # the loop closed while the last commit was on its way
                self._loop = None

    def _release(self) -> None:
        reached = self._spool.synced if self._sync else self._spool.written
        while self._waiting and (self._waiting[0][0] <= reached or self._waiting[0][1].done()):
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_result(None)

    @staticmethod
    def _give_up(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
