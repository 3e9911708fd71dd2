"""History: the record path of one bridge put together: spool and exporter here, the drain in a process of its own.

It comes up whether or not spool and store do, and keeps trying. While the store is away the spool keeps the records.
This process only appends to the spool and reads the store; the drain process writes the store, takes in what dead
bridges left behind, and ends their running executions as interrupted.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge_app.cleaning import Cleaner
from bridge_app.durability import DurableAnswers
from bridge_app.realtime import Realtime
from bridge_app.store_watch import StoreWatch
from exporters.absent_spool import AbsentSpool
from exporters.drain_messages import DrainReport, DrainSettings
from exporters.drain_process import DrainProcess
from exporters.lane import Lane
from exporters.spool import Spool, SpoolOwnedError
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.conversion import record_from_span
from otel_tracker.errors import StorageError, StorageUnavailableError
from otel_tracker.failsafe import failsafe
from otel_tracker.spans import given
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from bridge_app.cleaning import Bounds
    from bridge_app.forwarding import Forwarding
    from exporters.account import Settled
    from otel_tracker.ports import ExecutionStore
    from otel_tracker.record import ExecutionRecord

logger = logging.getLogger("bridge_app.history")
_KEEP_SECONDS: Final = 1.0


class History:
    """Everything between an ended span and an answer from the store."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        *,
        store: dict[str, str | int | float | bool],
        spool_root: Path,
        spool_max_bytes: int,
        sync: bool,
        instance_id: str,
        bounds: Bounds,
        forwarding: Forwarding | None = None,
    ) -> None:
        self.instance_id = instance_id
        self.cleaner = Cleaner(store, bounds)
        self.realtime = Realtime()
        self.drain = DrainReport()
        """What the drain process said last."""
        self._open_store = partial(open_store, **store)  # type: ignore[arg-type]  # its own arguments, by name
        self._spool_root = spool_root
        self.forwarding = forwarding
        self._open_spool = partial(
            Spool.open,
            spool_root,
            instance_id=instance_id,
            max_bytes=spool_max_bytes,
            sync=sync,
            is_followed=forwarding is not None,
        )
        self._absent = AbsentSpool()
        self._spool: Spool | AbsentSpool = self._absent
        self.spooled = SpooledSpanExporter(ExecutionRecordExporter(), self._spool)
        self.answers = DurableAnswers(self._spool, sync=sync, young=lambda: self.spooled.young)
        self.watch = StoreWatch(lambda: self.store)
        self._store: ExecutionStore | None = None
        self._why = "it is not open yet"
        self._drain_process = DrainProcess(
            DrainSettings(
                store=store,
                spool_root=str(spool_root),
                instance_id=instance_id,
                keeps_for_follower=forwarding is not None,
            ),
            on_report=self._on_report,
        )
        self._sync = sync
        self._lane: Lane | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._drain_spoke = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="storage-keeper", daemon=True)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the coroutines of this loop, whose thread calls this; before `start`."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        self.answers.bind(loop)

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
        return self._why or self.drain.why

    @property
    def interrupted(self) -> int:
        """Executions of dead bridges that were ended since the start."""
        return self.drain.interrupted

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The record as it is this moment, stored or on its way."""
        fresh = self.spooled.unsettled.get(execution_id) or self._starting(execution_id)
        if fresh is not None and fresh.status.is_final:
            return fresh
        stored = self.store.get(execution_id)
        return max((r for r in (stored, fresh) if r is not None), key=lambda r: r.rank, default=None)

    def _starting(self, execution_id: str) -> ExecutionRecord | None:
        span = self.spooled.starting(lambda span: given(span).get(EXECUTION_ID) == execution_id)
        return record_from_span(span) if span else None

    @property
    def settled(self) -> Settled:
        """What became of the executions that ended, as far as the drain has come."""
        return self.spooled.account.settle(self._spool.delivered)

    @property
    def unfollowed(self) -> int:
        """Frames that the forwarder never got to read: it was too far behind."""
        return self._spool.unfollowed

    def spool_json(self) -> dict[str, Any]:
        """How much is on its way, and what was lost and why."""
        depth, drain = self._spool.depth, self.drain
        return {
            "frames": depth.frames,
            "bytes": depth.bytes,
            "oldest_age_seconds": round(depth.oldest_age_seconds, 3),
            "dropped": {**self._absent.dropped, **self._spool.dropped, **drain.unburied},
            "corrupt_frames": self._spool.corrupt_frames + drain.corrupt_frames,
            "rejected": drain.rejected,
            "delivered": self._spool.delivered,
            "adopted": drain.adopted,
            "last_error": drain.why,
        }

    def close(self, *, drain_seconds: float = 3.0) -> None:
        """Flush the spool, drain for so long, release the store. What is left is taken in at the next start."""
        self._stopping.set()
        self.cleaner.stop()
        self._spool.flush(timeout_seconds=drain_seconds)
        if self._spool is not self._absent:
            if self.forwarding is not None:
                self.forwarding.begin_stop(timeout_seconds=drain_seconds)
            self._drain_process.stop(timeout_seconds=drain_seconds)
            if self.forwarding is not None:
                self.forwarding.end_stop(timeout_seconds=drain_seconds)
        self.spooled.shutdown(timeout_seconds=drain_seconds)
        if self._lane is not None:
            self._lane.close()
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
                if self._lane is not None:
                    self._lane.keep()
            except BaseException as error:  # noqa: BLE001 - the keeper must outlive whatever fails
                failsafe.caught("history.keep", error)
            self._stopping.wait(_KEEP_SECONDS)

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
            if self._loop is not None:
                self._lane = Lane(self._spool, sync=self._sync, loop=self._loop, thread=self._loop_thread)
                self._spool.use_lane(self._lane)
            self.answers.use(self._spool)
            self.spooled.spool = self._spool
            self._drain_process.start()
            if self.forwarding is not None:
                self.forwarding.start()

    def _try_store(self) -> None:
        if self._store is None:
            self._store = self._open_store()
            logger.info("Execution storage initialized successfully")

    def wait_for_drain(self, timeout_seconds: float) -> None:
        """Until the drain process works, or says why not: what comes then is listed within moments."""
        if self._spool is not self._absent:
            self._drain_spoke.wait(timeout_seconds)

    def _on_report(self, report: DrainReport) -> None:
        self._drain_spoke.set()
        before, self.drain = self.drain, report
        if report.lost > before.lost:  # a new process begins at 0
            self.spooled.account.reject(report.lost - before.lost)
        for instance_id, interrupted in report.taken_in:
            logger.info("Took in the spool of %s: %d executions were interrupted", instance_id, interrupted)
        if report.why and report.why != before.why and not self._why:
            logger.warning("Records do not reach the store now, the spool keeps them: %s", report.why)
        elif before.why and not report.why and not self._why:
            logger.info("Records reach the store")
