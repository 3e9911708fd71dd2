"""How safe a record is by now: lets an answer wait for the group commit, for a bounded time.

In: the receipt of an execution's last frame. Out: `disk`, `process` or `none`. It never waits longer than 50 ms, and
never raises into the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from exporters.absent_spool import AbsentSpool
    from exporters.spool import Spool
    from exporters.spooled import Receipt

DURABLE_WITHIN_SECONDS: Final = 0.04
"""How long an answer waits for the group commit before it says `process` instead of `disk`."""
RELIEVED_WITHIN_SECONDS: Final = 0.01
"""How long it then waits until another thread than the one that hangs has written the record."""


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
        timer = loop.call_later(DURABLE_WITHIN_SECONDS, future.cancel)
        self._release()  # the commit may have come between the check and the queue
        # Cancelled by the timer or by a stopping server, the wait is over; the answer is ready, and still sent.
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
        try:
            reached = self._spool.synced if self._sync else self._spool.written
            while self._waiting and (self._waiting[0][0] <= reached or self._waiting[0][1].done()):
                future = self._waiting.popleft()[1]
                if not future.done():
                    future.set_result(None)
        except BaseException as error:  # noqa: BLE001 - a callback of the event loop: a SystemExit here would stop it
            failsafe.caught("durability.release", error)
