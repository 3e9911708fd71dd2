"""History: the record path of one process put together: spool, exporter, store, recovery, retention.

It comes up whether or not spool and store do, and keeps trying. While the store is away the spool keeps the records;
once it is there, what dead processes left behind is taken in, and their running executions are ended as interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge_app.realtime import Realtime
from exporters.absent_spool import AbsentSpool
from exporters.spool import Spool, SpoolDirectory, SpoolOwnedError, orphans
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.conversion import record_from_span
from otel_tracker.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporters.spooled import Receipt
    from otel_tracker.ports import ExecutionStore
    from otel_tracker.query import PruneResult
    from otel_tracker.record import ExecutionRecord

logger = logging.getLogger("bridge_app.history")
_KEEP_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 2.0
_ADOPT_AT_ONCE: Final = 16
_DAY: Final = 86_400_000_000_000
DURABLE_WITHIN_SECONDS: Final = 0.04
"""How long an answer waits for the group commit before it says `process` instead of `disk`."""
RELIEVED_WITHIN_SECONDS: Final = 0.01
"""How long it then waits until another thread than the one that hangs has written the record."""


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
        self._open_spool = partial(
            Spool.open, spool_root, instance_id=instance_id, max_bytes=spool_max_bytes, sync=sync
        )
        self._absent = AbsentSpool()
        self._spool: Spool | AbsentSpool = self._absent
        self.exporter = ExecutionRecordExporter()
        self.spooled = SpooledSpanExporter(self.exporter, self._spool)
        self.answers = DurableAnswers(self._spool, sync=sync)
        self._store: ExecutionStore | None = None
        self._why = "it is not open yet"
        self._adoptions = {"rejected": 0, "corrupt_frames": 0}
        self._adopt_at = 0.0
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
        """Whether records are kept and reach the store."""
        return not self.why_closed

    @property
    def why_closed(self) -> str:
        """Why records are not kept, or do not reach the store now; empty while all is well."""
        return self._why or self.spooled.last_error

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
            "dropped": {**self._absent.dropped, **self._spool.dropped},
            "corrupt_frames": self._spool.corrupt_frames + self._adoptions["corrupt_frames"],
            "rejected": self.spooled.rejected + self._adoptions["rejected"],
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
                self._spool.mark_alive()
                if self._why:
                    self._try_open(first=False)
                if self._store is not None and time.monotonic() >= self._adopt_at:
                    self._adopt_at = time.monotonic() + _ADOPT_SECONDS
                    self._adopt(self._store)
            except StorageError as error:
                logger.warning("Taking in what dead processes left was put off: %s", error)
            except Exception:
                logger.exception("Taking in what dead processes left failed; it is tried again")
            self._stopping.wait(_KEEP_SECONDS if self._adopt_at else 0.05)

    def _try_open(self, *, first: bool) -> None:
        """Open what is not open yet, spool or store; say why that failed, once a reason."""
        reasons = []
        for attempt in (self._try_spool, self._try_store):
            try:
                attempt()
            except (StorageError, SpoolOwnedError, OSError) as error:
                reasons.append(str(error))
        why = "; ".join(reasons)
        if why and (first or why != self._why):
            logger.error("Failed to initialize storage: %s", why)
            logger.error("Execution tracking will be disabled")
        self._why = why

    def _try_spool(self) -> None:
        if self._spool is self._absent:
            try:
                self._spool = self._open_spool()
            except OSError as error:
                raise StorageUnavailableError(f"cannot keep a spool in {self._spool_root}: {error.strerror}") from error
            self.answers.use(self._spool)
            self.spooled.spool = self._spool

    def _try_store(self) -> None:
        if self._store is None:
            self._store = self._open_store()
            self.exporter.use(self._store)
            logger.info("Execution storage initialized successfully")

    def _adopt(self, store: ExecutionStore) -> None:
        waiting = orphans(self._spool_root, limit=_ADOPT_AT_ONCE)
        if len(waiting) == _ADOPT_AT_ONCE:
            self._adopt_at = 0.0  # there are more
        try:
            while waiting and not self._stopping.is_set():
                self._take_in(waiting[0], store)
                waiting.pop(0)
        finally:  # what was not taken in is anybody's again, this process's too
            for orphan in waiting:
                orphan.release()

    def _take_in(self, orphan: SpoolDirectory, store: ExecutionStore) -> None:
        while (batch := orphan.read(max_frames=512, max_bytes=4 << 20)).frames:
            rejected = self.exporter.deliver(batch.frames).rejected
            for index, reason in rejected:
                orphan.bury(batch.frames[index], reason=reason)
            orphan.commit(batch.end)
            self.adopted += len(batch.frames)
            self._adoptions["rejected"] += len(rejected)
        interrupted = store.interrupt(orphan.instance_id, now=orphan.last_alive_ns)
        self.interrupted += interrupted
        self._adoptions["corrupt_frames"] += orphan.corrupt_frames
        logger.info("Took in the spool of %s: %d executions were interrupted", orphan.instance_id, interrupted)
        orphan.remove()


class DurableAnswers:
    """Lets coroutines wait for the group commit: one wake-up of the event loop per commit, not per waiter."""

    def __init__(self, spool: Spool | AbsentSpool, *, sync: bool) -> None:
        self._spool = spool
        self._sync = sync
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._relief: asyncio.Future[None] | None = None
        self.use(spool)

    def use(self, spool: Spool | AbsentSpool) -> None:
        """Wait for this spool from now on; before anything is appended to it."""
        self._spool = spool
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
        if self._spool.written < sequence:
            await self._relieve(sequence)
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
        # Cancelled by a stopping server, the wait is over and the answer, which is ready, is still sent.
        with contextlib.suppress(asyncio.CancelledError):
            await future
        timer.cancel()

    async def _relieve(self, sequence: int) -> None:
        """The disk hangs: have the record written at least, by one thread for all that wait."""
        loop = self._loop
        assert loop is not None  # noqa: S101 - narrows a type; cannot be false
        for _ in range(2):  # the one under way may have begun before this record was queued
            if self._relief is None or self._relief.done():
                self._relief = loop.run_in_executor(None, self._spool.relieve)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._relief], timeout=RELIEVED_WITHIN_SECONDS / 2)
            if self._spool.written >= sequence:
                return

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
