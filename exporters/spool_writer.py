"""SpoolWriter: the thread `spool-writer`, which does the disk work of one spool's appends.

In: whatever is queued, taken all at once. Out: groups in segments, each written with one call and synced with one call
(group commit), settled in the queue. What it took it keeps until it is settled; when a write or a sync fails, or the
code does, it tries again, after a failed sync in a new file. Only once the queue is closing does it ever give up.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from exporters.backoff import delay_seconds
from exporters.segment_writer import SegmentWriter

if TYPE_CHECKING:
    from exporters.relief import Relief
    from exporters.segments import Segment
    from exporters.spool_directory import SpoolDirectory
    from exporters.spool_queue import SpoolQueue
    from exporters.stand_in import StandIn

_GROUP_BYTES: Final = 4 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SpoolWriter:
    """Works from `start` on; ends once the queue is closed and done."""

    def __init__(
        self, directory: SpoolDirectory, queue: SpoolQueue, *, stand_in: StandIn, segment_bytes: int, sync: bool
    ) -> None:
        self._directory = directory
        self._queue = queue
        self._stand_in = stand_in
        self._sync = sync
        self._file = SegmentWriter(directory, segment_bytes=segment_bytes, sync=sync)
        self._pending: deque[bytes] = deque()
        self._reliefs: deque[Relief] = deque()  # written, to be synced after what is pending
        self._tail: Segment | None = None  # what is pending is whole in it, too
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)

    # --- any thread

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of it."""
        self._thread.join(timeout_seconds)

    def is_alive(self) -> bool:
        """Whether it works, or hangs."""
        return self._thread.is_alive()

    def place_for(self, size: int) -> tuple[Segment, int] | None:
        """See `SegmentWriter.place_for`; only while the writer rests."""
        return self._file.place_for(size)

    def disown(self) -> None:
        """In a forked child, where the thread does not exist."""
        self._pending, self._reliefs = deque(), deque()

    # --- its thread

    def _run(self) -> None:
        while True:
            try:
                while self._take():
                    self._write_pending()
                break
            except BaseException as error:  # noqa: BLE001 - the one writer must outlive a defect, and want of memory
                self._note_defect(error)
        self._file.abandon()
        self._queue.end()

    def _take(self) -> bool:
        """Move everything queued to `_pending`, waiting for something; False when closed and done."""
        while True:
            was_lent, tail = self._queue.move_returned(self._pending)
            if was_lent:
                self._tail = tail
                self._file.abandon() if tail else self._file.drop_tail()
            self._leave_file_if_relieved()
            while self._reliefs and not self._pending:
                self._sync_relief(self._reliefs.popleft())
                self._leave_file_if_relieved()
            if self._pending:  # what a defect left, or a lane, or a relief that could not be synced
                return True
            if not self._queue.move(self._pending) and not self._queue.is_relieved:
                return False
            if self._pending:
                return True

    def _leave_file_if_relieved(self) -> None:
        """A drain that has seen the relief's file looks at no earlier one: what comes now goes into a later one."""
        if not self._queue.is_relieved:
            return
        relief = self._stand_in.hand_over()
        if relief is not None:
            self._reliefs.append(relief)
        self._file.abandon()
        self._queue.end_relief()

    def _sync_relief(self, relief: Relief) -> None:
        """Sync what was written while a sync hung. Failed, it is pending once more."""
        self._pending.extend(relief.frames)
        self._queue.note_sync(syncs_all=True)
        try:
            relief.sync()
        except OSError as error:
            self._note_failure(error)
        else:
            self._queue.settle(len(relief.frames), size=relief.size, segment=relief.segment)
            self._pending.clear()
            self._queue.tell()

    def _write_pending(self) -> None:
        while self._pending:
            try:
                self._leave_file_if_relieved()
                self._write_group()
            except OSError as error:
                self._note_failure(error)
                if time.monotonic() >= self._queue.give_up_at:
                    self._queue.give_up(self._queue.trouble or "io_error")
                    self._pending.clear()
                    return
                self._back_off()
            else:
                self._failures, self._queue.trouble = 0, None
        if self._tail is not None:
            self._tail.is_lent, self._tail = False, None

    def _write_group(self) -> None:
        """One write and one sync. On OSError nothing is taken off `_pending`."""
        # Fewer frames after each failure, so that the last free bytes of a disk are used too.
        group = self._file.choose(self._pending, limit=_GROUP_BYTES >> min(self._failures, 22))
        size = self._file.write(group)
        if self._sync:
            self._queue.note_sync(syncs_all=len(group) == len(self._pending), count=len(group))
            self._file.sync(size=size, frames=len(group))
        self._queue.settle(len(group), size=size, segment=self._file.last)
        for _ in group:
            self._pending.popleft()
        self._queue.tell()

    def _note_failure(self, error: OSError) -> None:
        self._failures += 1
        self._queue.note_failure("disk_full" if error.errno in _FULL else "io_error")
        self._directory.refresh()  # the drain may have passed segments, whose deletion makes room
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            self._file.abandon()
        self._queue.log.note("a write failed; frames wait in memory until it succeeds", error)

    def _note_defect(self, error: BaseException) -> None:
        """What was taken is still pending: it is written again, in a new file, for the old one cannot be trusted."""
        self._failures += 1
        self._queue.trouble = "internal_error"
        self._file.abandon()
        self._queue.log.note("the writer failed on a defect; frames wait in memory until it succeeds", error)
        if time.monotonic() >= self._queue.give_up_at:
            self._queue.give_up("internal_error")
            self._pending.clear()
        self._back_off()

    def _back_off(self) -> None:
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        delay = delay_seconds(self._failures, base=0.1, cap=1.0, jitter=jitter)
        if self._queue.closing.is_set():
            time.sleep(min(delay, 0.05, max(0.0, self._queue.give_up_at - time.monotonic())))
        else:
            self._queue.closing.wait(delay)
