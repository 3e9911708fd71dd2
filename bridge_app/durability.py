"""Ends executions in groups, and lets each answer wait, for a bounded time, until its record is safe.

In: what ends an execution, and the receipt of its last frame. Out: `disk`, `process` or `none`. An answer never waits
longer than 50 ms, and nothing is ever raised into it.

Executions that end within a moment of each other are ended together: they share one sync of the disk, one wake-up of
the event loop, and caches that are warm from the second one on. A group is ended when almost all that run are in it:
the few others keep the loop busy while it is synced. Where few run, nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.absent_spool import AbsentSpool
    from exporters.spool import Spool
    from exporters.spooled import Receipt

DURABLE_WITHIN_SECONDS: Final = 0.04
"""How long an answer waits for the group commit before it says `process` instead of `disk`."""
RELIEVED_WITHIN_SECONDS: Final = 0.01
"""How long it then waits until another thread than the one that hangs has written the record."""
COLLECTED_WITHIN_SECONDS: Final = 0.005
"""How long the first of a group waits at the most for others that are about to end."""
OTHERS: Final = 3
"""Where no more executions than this are about to end, a group does not wait for them."""


class _Ending(NamedTuple):
    end: Callable[[], None]
    receipt: Receipt
    future: asyncio.Future[None]
    waits: bool
    """Until its record is safe; else only until it is ended."""


class DurableAnswers:
    """For the coroutines of one event loop. `young` tells how many executions are likely to end soon."""

    def __init__(self, spool: Spool | AbsentSpool, *, sync: bool, young: Callable[[], int]) -> None:
        self._spool = spool
        self._sync = sync
        self._young = young
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._ending: list[_Ending] = []
        self._futures: list[asyncio.Future[None]] = []  # the group's, apart: all that its timer holds
        self._flush: asyncio.Handle | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._relief: asyncio.Future[None] | None = None
        self.use(spool)

    def use(self, spool: Spool | AbsentSpool) -> None:
        """Wait for this spool from now on; before anything is appended to it."""
        self._spool = spool
        spool.on_progress(self._progressed)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve the coroutines of this loop, whose thread calls this."""
        self._loop, self._thread = loop, threading.get_ident()

    async def keep(self, end: Callable[[], None], receipt: Receipt, *, wanted: str) -> str:
        """Call `end`, soon; `disk`, `process` or `none`: what the record has reached then, after at most 50 ms.

        Where `off` is wanted the answer waits for nothing but its group, and says `none`.
        """
        loop = self._loop
        if loop is None:
            end()
            return "none"
        ending = _Ending(end, receipt, loop.create_future(), wanted != "off")
        if not self._futures:
            loop.call_later(DURABLE_WITHIN_SECONDS, self._expire, self._futures)
        self._ending.append(ending)
        self._futures.append(ending.future)
        if self._young() - len(self._ending) <= OTHERS:
            self._flush_soon(loop)
        elif self._flush is None:
            self._flush = loop.call_later(COLLECTED_WITHIN_SECONDS, self.flush)
        # Cancelled by the timer or by a stopping server, the wait is over; the answer is ready, and still sent.
        try:
            await ending.future
        except asyncio.CancelledError:
            if ending in self._ending:
                self.flush()
        sequence = receipt.sequence
        if sequence is None or not ending.waits:
            return "none"
        if wanted == "disk" and self._spool.synced >= sequence:
            return "disk"
        return await self._reached(sequence, wanted=wanted)

    def flush(self) -> None:
        """End what is collected, now."""
        if self._flush is not None:
            self._flush.cancel()
        group, self._ending, self._futures, self._flush = self._ending, [], [], None
        for ending in group:
            try:
                ending.end()
            except BaseException as error:  # noqa: BLE001 - one that fails must not take the others along
                failsafe.caught("durability.end", error)
            if ending.waits:
                self._waiting.append((ending.receipt.sequence or 0, ending.future))
            elif not ending.future.done():
                ending.future.set_result(None)
        self._release()  # the commit may have come already

    def _expire(self, group: list[asyncio.Future[None]]) -> None:
        """Whatever became of a group by now, its answers wait no longer."""
        if group is self._futures:  # it was never flushed
            self._futures, self._flush = [], None
        for future in group:
            future.cancel()

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._flush = loop.call_soon(self.flush)

    async def _reached(self, sequence: int, *, wanted: str) -> str:
        if self._spool.written < sequence:
            await self._relieve(sequence)
        if wanted == "disk" and self._spool.synced >= sequence:
            return "disk"
        return "process" if self._spool.written >= sequence else "none"

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
            if threading.get_ident() == self._thread:
                self._release()
                return
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
