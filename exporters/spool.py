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
import logging
import os
import re
import time
import weakref
from typing import TYPE_CHECKING

from exporters.orphans import orphans
from exporters.rare_log import RareLog
from exporters.segments import sync_directory
from exporters.spool_directory import Depth, SpoolDirectory
from exporters.spool_folder import DIRECTORY_MODE, make_directory
from exporters.spool_queue import SpoolQueue
from exporters.spool_reader import SpoolReader
from exporters.spool_writer import SpoolWriter
from exporters.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporters.loans import Loan, TakesLoans

__all__ = ["Depth", "Spool", "SpoolDirectory", "SpoolOwnedError", "orphans"]

_INSTANCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

_logger = logging.getLogger(__name__)


class SpoolOwnedError(RuntimeError):
    """Another spool, in this process or another, owns the directory."""


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
        # Consumed frames leave the disk a whole segment at a time: one segment's worth is kept back for them.
        segment_bytes = max(1, min(segment_bytes, max_bytes // 8))
        log = RareLog(_logger, f"Spool {directory.instance_id}")
        self._directory = directory
        self._stand_in = StandIn(directory, segment_bytes=segment_bytes)
        self._queue = SpoolQueue(directory, capacity=max_bytes - segment_bytes, log=log)
        self._writer = SpoolWriter(
            directory, self._queue, stand_in=self._stand_in, segment_bytes=segment_bytes, sync=sync
        )
        self._writer.start()
        _spools.add(self)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        instance_id: str,
        max_bytes: int = 1 << 30,
        segment_bytes: int = 16 << 20,
        sync: bool = True,
        is_followed: bool = False,
    ) -> Spool:
        """Own root/<instance_id>, made if absent, with whatever an earlier owner left in it.

        Where it `is_followed`, up to a quarter of `max_bytes` more stays for who reads it beside the drain.

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
        if is_followed:
            directory.keep_for_follower(max_bytes=max_bytes // 4)
        if sync:
            sync_directory(root.parent)
            sync_directory(root)
        return cls(directory, max_bytes=max_bytes, segment_bytes=segment_bytes, sync=sync)

    # --- any thread

    def mark_alive(self) -> None:
        """See `SpoolDirectory.mark_alive`."""
        self._directory.mark_alive()

    def append(self, frame: bytes, on_refusal: Callable[[str], object] | None = None) -> int | None:
        """Queue a frame and return its number (1, 2, 3 …), or None when it is refused, counted in `dropped`.

        Reasons: `spool_full`, `queue_full` (the disk is too slow), `disk_full` and `io_error` (it fails, and memory is
        full too), `too_large`, `closed`, `forked`, `internal_error`; `on_refusal` is called with it, and must be quick.
        Never blocks on the disk, never raises.
        """
        return self._queue.append(frame, on_refusal)

    @property
    def written(self) -> int:
        """Every frame up to this number reached its file."""
        return self._queue.written

    @property
    def synced(self) -> int:
        """Every frame up to this number survives a power cut (with `sync=False`: is written)."""
        return self._queue.settled

    def on_progress(self, callback: Callable[[int], None]) -> None:
        """Have `callback(synced)` called by the writer thread after each group commit; it must be quick."""
        self._queue.listeners.add(callback)

    def wait(self, seq: int, *, timeout_seconds: float, synced: bool = True) -> bool:
        """Block until frame `seq` is synced (or only written); False after the timeout, or once it never will be."""
        return self._queue.wait(seq, timeout_seconds=timeout_seconds, synced=synced, is_manned=self._writer.is_alive)

    def relieve(self) -> None:
        """Write, though not sync, what is queued while the writer hangs in a sync; else do nothing. May block."""
        self._stand_in.relieve(self._queue)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames lost, by reason: refused by `append`, given up by `close`."""
        return self._queue.dropped

    @property
    def depth(self) -> Depth:
        """What is appended and not committed; what is being synced right now counts twice, never not at all."""
        # Memory before disk: a frame that moves in between is seen twice rather than missed.
        frames, size = self._queue.unsettled
        stored = self._directory.depth
        return Depth(stored.frames + frames, stored.bytes + size, stored.oldest_age_seconds)

    # --- who works in the writer's place

    def use_lane(self, lane: TakesLoans) -> None:
        """From now on everyday work is asked of the lane; the writer does what the lane does not."""
        self._queue.use_lane(lane)

    def lend(self, *, max_bytes: int) -> Loan | None:
        """See `Lends`: what is queued, if it is of so many bytes and the current segment has room for it."""
        return self._queue.lend(max_bytes=max_bytes, place_for=self._writer.place_for)

    def repay(self, loan: Loan) -> None:
        """See `Lends`: a loan is in its segment, as safe as it gets."""
        self._queue.repay(loan)

    def take_back(self, loan: Loan, *, is_written: bool) -> None:
        """See `Lends`: the writer writes it again, elsewhere."""
        self._queue.take_back(loan, is_written=is_written)

    def recall(self) -> None:
        """See `Lends`: the writer does whatever there is to do, a loan included."""
        self._queue.recall()

    # --- the drain

    def reader(self) -> SpoolReader:
        """For whoever drains it; one at a time."""
        return SpoolReader(self._directory.path)

    @property
    def delivered(self) -> int:
        """Every frame up to this number was drained; it may be a little behind, never ahead."""
        self._directory.refresh()
        return self._queue.delivered(self._directory.cursor)

    @property
    def corrupt_frames(self) -> int:
        """Damaged stretches that the drain has skipped."""
        self._directory.refresh()
        return self._directory.cursor.corrupt

    def flush(self, *, timeout_seconds: float) -> bool:
        """Wait until everything appended so far is synced; False where it is not in time."""
        return self.wait(self._queue.sequence, timeout_seconds=timeout_seconds)

    @property
    def instance_id(self) -> str:
        """The name of the directory."""
        return self._directory.instance_id

    def close(self, *, timeout_seconds: float, remove_if_empty: bool = False) -> None:
        """Write and sync what is queued, then give the directory up; frames in it wait for the next owner.

        What the disk does not take within the timeout is counted in `dropped`. If the disk hangs, the lock is kept
        until the process ends, because the writer may still write. Closing twice does nothing.
        """
        if not self._queue.close(timeout_seconds=timeout_seconds):
            return
        self._writer.join(timeout_seconds + 0.5)
        self._directory.refresh()
        if self._writer.is_alive():
            self._queue.give_up("close_timeout")
        elif remove_if_empty and not self._directory.unread_bytes and self._is_followed_up():
            self._directory.remove()
        else:
            self._directory.release()

    @property
    def unfollowed(self) -> int:
        """Frames that were deleted before the follower had read them, because it was too far behind."""
        return self._directory.follower.unread if self._directory.follower else 0

    def _is_followed_up(self) -> bool:
        return self._directory.follower is None or not self._directory.follower.is_behind()

    def _disown(self) -> None:
        """In a forked child, where the writer thread does not exist and the locks may have been held."""
        self._queue.disown()
        self._stand_in.disown()
        self._writer.disown()


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
