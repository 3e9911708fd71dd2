"""The durable spool: bytes in, bytes out, in order, across kill -9 and a full disk. Knows no spans.

In: frames, from any thread, in about two microseconds and without ever blocking or raising. Out: the same frames for
one drain, at least once (a failed sync may repeat some, and let them come late). One thread, `spool-writer`, does all
disk work of appends: it takes whatever is queued, writes it with one call, syncs it with one call (group commit), and
says how far it got.

`written` frames survive the death of the process, `synced` ones the death of the machine. An accepted frame stays in
memory until it is synced; when a write or a sync fails it is tried again, after a failed sync in a new file (the kernel
may have dropped the pages and forgotten the error). Only `close` gives up, and counts what it gave up in `dropped`.
While a sync hangs, `relieve` has later frames written by the thread that calls it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import re
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from exporters.backoff import delay_seconds
from exporters.loans import Loan
from exporters.relief import Relief
from exporters.segment_writer import SegmentWriter
from exporters.segments import HEADER_BYTES, MAX_FRAME_BYTES, sync_directory
from exporters.spool_directory import DIRECTORY_MODE, Depth, SpoolDirectory, make_directory, orphans
from exporters.spool_reader import SpoolReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporters.loans import TakesLoans
    from exporters.segments import Segment

__all__ = ["Depth", "Spool", "SpoolDirectory", "SpoolOwnedError", "orphans"]

MAX_QUEUED_BYTES = 64 << 20
_GROUP_BYTES = 4 << 20
_LOAN_SECONDS = 1.0
_MARK_BYTES = 64 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_INSTANCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LOG_EVERY_SECONDS = 60.0

_logger = logging.getLogger(__name__)


class SpoolOwnedError(RuntimeError):
    """Another spool, in this process or another, owns the directory."""


class _Mark(NamedTuple):
    begins: int
    """Offset at which it was made; it moves on with what is appended soon after."""
    place: tuple[int, int]
    """Segment and offset: where the cursor must be."""
    sequence: int


class Spool:
    """A spool this process appends to; `reader` is for whoever drains it, here or in another process.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     spool = Spool.open(pathlib.Path(root), instance_id="a")
    ...     done = spool.wait(spool.append(b"frame"), timeout_seconds=5)
    ...     frames = spool.reader().read(max_frames=10, max_bytes=1000).frames
    ...     spool.close(timeout_seconds=5)
    >>> done, frames
    (True, [b'frame'])
    """

    def __init__(self, directory: SpoolDirectory, *, max_bytes: int, segment_bytes: int, sync: bool) -> None:
        self._directory = directory
        # Consumed frames leave the disk a whole segment at a time: one segment's worth is kept back for them.
        segment_bytes = max(1, min(segment_bytes, max_bytes // 8))
        self._capacity = max_bytes - segment_bytes
        self._sync = sync
        self._lock = threading.RLock()  # re-entrant: a collected object's __del__ may append inside an append
        self._progressed = threading.Condition(self._lock)
        self._waiters = 0
        self._wake = threading.Lock()  # a bare lock is the cheapest wake-up: held while the writer has no call
        self._wake.acquire()
        self._idle = False
        self._closed_reason: str | None = None
        self._closing = threading.Event()
        self._gave_up = False
        self._give_up_at = float("inf")
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._sequence = 0
        self._dropped: dict[str, int] = {}
        self._callbacks: list[Callable[[int], None]] = []
        self._lane: TakesLoans | None = None
        self._loan: Loan | None = None
        self._is_distrusted = False  # a loan was taken back: what the current file ends with is unknown
        self._syncs_all = False  # the writer is in a sync, and all that it took is in the file already
        self._relief_lock = threading.Lock()  # taken before `_lock`; held while a relief is being written
        self._relief = Relief(directory, segment_bytes=segment_bytes)
        self._marks: deque[_Mark] = deque()
        self._delivered = 0
        # Below: the writer thread's own.
        self._pending: deque[bytes] = deque()
        self._written = self._settled = 0
        self._segment_bytes = segment_bytes
        self._file = SegmentWriter(directory, segment_bytes=segment_bytes, sync=sync)
        self._failures = 0
        self._trouble: str | None = None
        self._logged_at = float("-inf")
        self._writer = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._writer.start()
        _spools.add(self)

    @classmethod
    def open(
        cls, root: Path, *, instance_id: str, max_bytes: int = 1 << 30, segment_bytes: int = 16 << 20, sync: bool = True
    ) -> Spool:
        """Own root/<instance_id>, made if absent, with whatever an earlier owner left in it.

        With `sync=False` nothing is synced, and `synced` follows `written`: a power cut may lose the last seconds.
        Raises SpoolOwnedError, ValueError for a name that is no plain file name, OSError when the disk refuses.
        """
        if not _INSTANCE_ID.fullmatch(instance_id):
            raise ValueError(
                f"instance_id is {instance_id!r}: expected 1 to 128 of A-Z a-z 0-9 . _ -, no leading . or -"
            )
        path = root / instance_id
        directory = _make_and_acquire(path)
        if directory is None:
            raise SpoolOwnedError(f"{path} is owned by a running process: give each instance its own instance_id")
        path.chmod(DIRECTORY_MODE)
        if sync:
            sync_directory(root.parent)
            sync_directory(root)
        return cls(directory, max_bytes=max_bytes, segment_bytes=segment_bytes, sync=sync)

    # --- any thread

    def mark_alive(self) -> None:
        """See `SpoolDirectory.mark_alive`."""
        self._directory.mark_alive()

    def append(self, frame: bytes) -> int | None:
        """Queue a frame and return its number (1, 2, 3 …), or None when it is refused, counted in `dropped`.

        Reasons: `spool_full`, `queue_full` (the disk is too slow), `disk_full` and `io_error` (it fails, and memory is
        full too), `too_large`, `closed`, `forked`, `internal_error`. Never blocks on the disk, never raises.
        """
        size = len(frame) + HEADER_BYTES
        with self._lock:
            if not self._has_room(size):
                self._directory.refresh()  # the drain may have made room meanwhile
                if not self._has_room(size):
                    self._drop(self._refusal(size))
                    return None
            self._queued_bytes += size
            self._queue.append(frame)
            self._sequence += 1
            self._start_work()
            return self._sequence

    @property
    def written(self) -> int:
        """Every frame up to this number reached its file."""
        loan = self._loan
        if loan is not None and loan.wrote():
            return max(self._written, self._settled + len(loan.frames))
        return self._written

    @property
    def synced(self) -> int:
        """Every frame up to this number survives a power cut (with `sync=False`: is written)."""
        return self._settled

    def on_progress(self, callback: Callable[[int], None]) -> None:
        """Have `callback(synced)` called by the writer thread after each group commit; it must be quick."""
        with self._lock:
            self._callbacks.append(callback)

    def wait(self, seq: int, *, timeout_seconds: float, synced: bool = True) -> bool:
        """Block until frame `seq` is synced (or only written); False after the timeout, or once it never will be."""
        with self._lock:
            self._waiters += 1
            try:
                self._progressed.wait_for(
                    lambda: self._reached(synced=synced) >= seq or self._is_over(), timeout_seconds
                )
            finally:
                self._waiters -= 1
            return self._reached(synced=synced) >= seq

    def relieve(self) -> None:
        """Write, though not sync, what is queued while the writer hangs in a sync; else do nothing. May block."""
        with self._relief_lock:
            with self._lock:
                is_in_sync = self._syncs_all or (self._loan is not None and self._loan.wrote())
                if not (self._queue and is_in_sync and self._relief.fits(self._queue)):
                    return
                self._written = self.written
                frames, self._queue = self._queue, []
            try:
                self._relief.write(frames)
            except OSError:
                with self._lock:
                    self._queue[:0] = frames
                return
            with self._lock:
                self._written += len(frames)
                self._progressed.notify_all()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames lost, by reason: refused by `append`, given up by `close`."""
        with self._lock:
            return dict(self._dropped)

    @property
    def depth(self) -> Depth:
        """What is appended and not committed; what is being synced right now counts twice, never not at all."""
        with self._lock:  # memory before disk: a frame that moves in between is seen twice rather than missed
            frames = 0 if self._gave_up else self._sequence - self._settled
            size = 0 if self._gave_up else self._queued_bytes
        stored = self._directory.depth
        return Depth(stored.frames + frames, stored.bytes + size, stored.oldest_age_seconds)

    # --- who works in the writer's place

    def use_lane(self, lane: TakesLoans) -> None:
        """From now on everyday work is asked of the lane; the writer does what the lane does not."""
        self._lane = lane

    def lend(self, *, max_bytes: int) -> Loan | None:
        """See `Lends`: what is queued, if it is of so many bytes and the current segment has room for it."""
        with self._lock:
            if not self._idle or self._loan is not None or not self._queue:
                return None
            size = self._queued_bytes
            is_usual = size <= max_bytes and not self._relief.frames and self._closed_reason is None
            place = self._file.place_for(size) if is_usual and not self._is_distrusted else None
            if place is None:
                self._wake_writer()
                return None
            frames, self._queue = self._queue, []
            loan = self._loan = Loan(frames, size, *place)
            return loan

    def repay(self, loan: Loan) -> None:
        """See `Lends`: a loan is in its segment, as safe as it gets."""
        self._directory.grow(loan.segment, size=loan.size, frames=len(loan.frames))
        self._settle(self._settled + len(loan.frames), size=loan.size, segment=loan.segment)
        with self._lock:
            if self._relief.frames or self._closed_reason is not None:
                self._wake_writer()
            elif self._queue:
                self._start_work()

    def take_back(self, loan: Loan) -> None:
        """See `Lends`: the writer writes it again, elsewhere."""
        with self._lock:
            if self._loan is loan:
                self._loan = None
                self._is_distrusted = True
                self._pending.extend(loan.frames)
                self._wake_writer()

    def recall(self) -> None:
        """See `Lends`: the writer does whatever there is to do, a loan included."""
        with self._lock:
            if self._loan is not None:
                self.take_back(self._loan)
            elif self._queue:
                self._wake_writer()

    # --- the drain

    def reader(self) -> SpoolReader:
        """For whoever drains it; one at a time."""
        return SpoolReader(self._directory.path)

    @property
    def delivered(self) -> int:
        """Every frame up to this number was drained; it may be a little behind, never ahead."""
        self._directory.refresh()
        cursor = self._directory.cursor
        with self._lock:
            while self._marks and self._marks[0].place <= (cursor.segment, cursor.offset):
                self._delivered = max(self._delivered, self._marks.popleft().sequence)
            return self._delivered

    @property
    def corrupt_frames(self) -> int:
        """Damaged stretches that the drain has skipped."""
        self._directory.refresh()
        return self._directory.cursor.corrupt

    def flush(self, *, timeout_seconds: float) -> bool:
        """Wait until everything appended so far is synced; False where it is not in time."""
        return self.wait(self._sequence, timeout_seconds=timeout_seconds)

    @property
    def instance_id(self) -> str:
        """The name of the directory."""
        return self._directory.instance_id

    def close(self, *, timeout_seconds: float, remove_if_empty: bool = False) -> None:
        """Write and sync what is queued, then give the directory up; frames in it wait for the next owner.

        What the disk does not take within the timeout is counted in `dropped`. If the disk hangs, the lock is kept
        until the process ends, because the writer may still write. Closing twice does nothing.
        """
        with self._lock:
            if self._closed_reason is not None:
                return
            self._closed_reason = "closed"
            self._give_up_at = time.monotonic() + timeout_seconds
            self._closing.set()
            loan = self._loan
            if loan is not None:
                self._await_loan(min(timeout_seconds, _LOAN_SECONDS))
                self.take_back(loan)
            self._wake_writer()
        self._writer.join(timeout_seconds + 0.5)
        self._directory.refresh()
        if self._writer.is_alive():
            self._give_up("close_timeout")
        elif remove_if_empty and not self._directory.unread_bytes:
            self._directory.remove()
        else:
            self._directory.release()

    # --- the writer thread

    def _run(self) -> None:
        while True:
            try:
                while self._take():
                    self._write_pending()
                break
            except BaseException as error:  # noqa: BLE001 - the one writer must outlive a defect, and want of memory
                self._note_defect(error)
        self._file.abandon()
        with self._lock:
            self._progressed.notify_all()

    def _take(self) -> bool:
        """Move everything queued to `_pending`, waiting for something; False when closed and done."""
        while True:
            if self._is_distrusted:
                self._file.drop_tail()
                self._is_distrusted = False
            if self._pending:  # what a defect left
                return True
            while self._sync_relief():
                if self._pending:
                    return True
            with self._lock:
                if self._queue:
                    self._pending.extend(self._queue)
                    self._queue.clear()
                    return True
                if self._closed_reason is not None:
                    return False
                self._idle = True
            self._wake.acquire()

    def _sync_relief(self) -> bool:
        """Sync what was written while a sync hung; False when there is nothing. Failed, it is pending once more."""
        with self._relief_lock:
            relief = self._relief
            if not relief.frames:
                return False
            self._relief = Relief(self._directory, segment_bytes=self._segment_bytes)
        self._file.abandon()  # so that later frames get into later files
        self._pending.extend(relief.frames)
        with self._lock:
            self._syncs_all = True
        try:
            relief.sync()
        except OSError as error:
            self._note_failure(error)
        else:
            self._settle(self._settled + len(relief.frames), size=relief.size, segment=relief.segment)
            self._pending.clear()
        return True

    def _write_pending(self) -> None:
        while self._pending:
            try:
                self._write_group()
            except OSError as error:
                self._note_failure(error)
                if time.monotonic() >= self._give_up_at:
                    self._give_up(self._trouble or "io_error")
                    self._pending.clear()
                    return
                self._back_off()
            else:
                self._failures, self._trouble = 0, None

    def _write_group(self) -> None:
        """One write and one sync. On OSError nothing is taken off `_pending`."""
        # Fewer frames after each failure, so that the last free bytes of a disk are used too.
        group = self._file.choose(self._pending, limit=_GROUP_BYTES >> min(self._failures, 22))
        size = self._file.write(group)
        settled = self._settled + len(group)
        if self._sync:
            with self._lock:
                self._written = max(self._written, settled)
                self._syncs_all = len(group) == len(self._pending)
                if self._waiters:
                    self._progressed.notify_all()
            self._file.sync(size=size, frames=len(group))
        self._settle(settled, size=size, segment=self._file.last)
        for _ in group:
            self._pending.popleft()

    def _settle(self, settled: int, *, size: int, segment: Segment | None) -> None:
        """Tell everybody that the frames up to this number, the last `size` bytes of `segment`, are safe now."""
        with self._lock:
            self._mark(segment, settled)
            self._queued_bytes -= size
            self._written = max(self._written, settled)
            self._settled = settled
            self._syncs_all = False
            self._loan = None
            if self._waiters:
                self._progressed.notify_all()
        for callback in self._callbacks:
            try:
                callback(settled)
            except BaseException as error:  # noqa: BLE001 - a listener's defect must not stop the writer
                self._log("a progress callback failed", error)

    def _note_failure(self, error: OSError) -> None:
        with self._lock:
            self._syncs_all = False
        self._failures += 1
        self._trouble = "disk_full" if error.errno in _FULL else "io_error"
        self._directory.refresh()  # the drain may have passed segments, whose deletion makes room
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            self._file.abandon()
        self._log("a write failed; frames wait in memory until it succeeds", error)

    def _note_defect(self, error: BaseException) -> None:
        """What was taken is still pending: it is written again, in a new file, for the old one cannot be trusted."""
        self._failures += 1
        self._trouble = "internal_error"
        self._file.abandon()
        self._log("the writer failed on a defect; frames wait in memory until it succeeds", error)
        if time.monotonic() >= self._give_up_at:
            self._give_up("internal_error")
            self._pending.clear()
        self._back_off()

    def _back_off(self) -> None:
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        delay = delay_seconds(self._failures, base=0.1, cap=1.0, jitter=jitter)
        if self._closing.is_set():
            time.sleep(min(delay, 0.05, max(0.0, self._give_up_at - time.monotonic())))
        else:
            self._closing.wait(delay)

    def _give_up(self, reason: str) -> None:
        """Count every frame not yet synced as lost; a later owner may still find those that were written."""
        with self._lock:
            if self._gave_up:
                return
            self._gave_up = True
            lost = self._sequence - self._settled
            if lost:
                self._dropped[reason] = self._dropped.get(reason, 0) + lost
            self._closed_reason = self._closed_reason or reason
            self._queue.clear()
            self._progressed.notify_all()

    # --- under the lock

    def _mark(self, segment: Segment | None, sequence: int) -> None:
        """Frames up to this number are in front of where the segment ends now; one mark for every 64 KiB or so."""
        if segment is None:
            return
        last = self._marks[-1] if self._marks else None
        place = (segment.number, segment.size)
        if last is not None and last.place[0] == segment.number and segment.size - last.begins < _MARK_BYTES:
            self._marks[-1] = _Mark(last.begins, place, sequence)
        else:
            self._marks.append(_Mark(segment.size, place, sequence))

    def _start_work(self) -> None:
        """Have what is queued written, by the lane if it will; nothing to do where somebody is at it."""
        if self._idle and self._loan is None and (self._lane is None or not self._lane.ask()):
            self._wake_writer()

    def _wake_writer(self) -> None:
        if self._idle and self._loan is None:
            self._idle = False
            self._wake.release()

    def _await_loan(self, seconds: float) -> None:
        self._waiters += 1
        try:
            self._progressed.wait_for(lambda: self._loan is None, seconds)
        finally:
            self._waiters -= 1

    def _has_room(self, size: int) -> bool:
        queued = self._queued_bytes + size
        return (
            queued <= MAX_QUEUED_BYTES
            and queued + self._directory.unread_bytes <= self._capacity
            and self._closed_reason is None
        )

    def _refusal(self, size: int) -> str:
        if self._closed_reason is not None:
            return self._closed_reason
        if size > MAX_FRAME_BYTES or size > self._capacity:
            return "too_large"
        if self._queued_bytes + size > MAX_QUEUED_BYTES:
            return self._trouble or "queue_full"
        return self._trouble or "spool_full"

    def _drop(self, reason: str) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def _reached(self, *, synced: bool) -> int:
        return self._settled if synced else self._written

    def _is_over(self) -> bool:
        return self._gave_up or self._closed_reason == "forked" or not self._writer.is_alive()

    def _log(self, what: str, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            _logger.warning("Spool %s: %s: %s", self.instance_id, what, error)

    def _disown(self) -> None:
        """In a forked child, where the writer thread does not exist and the locks may have been held."""
        self._lock = threading.RLock()
        self._progressed = threading.Condition(self._lock)
        self._relief_lock = threading.Lock()
        self._closed_reason = "forked"
        self._lane = self._loan = None
        self._queue, self._pending = [], deque()


def _make_and_acquire(path: Path) -> SpoolDirectory | None:
    """None while somebody else owns it.

    Its last owner may remove it between our mkdir and our lock, and an adopter may take it for an orphan's there: both
    are gone in a moment.
    """
    for _ in range(10):
        make_directory(path)
        with contextlib.suppress(FileNotFoundError):
            directory = SpoolDirectory.acquire(path)
            if directory is not None:
                return directory
        time.sleep(0.02)
    return None


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _disown_all() -> None:
    for spool in list(_spools):
        spool._disown()  # noqa: SLF001 - the module's own class


os.register_at_fork(after_in_child=_disown_all)
