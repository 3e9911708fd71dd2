"""One instance's spool directory as its owner sees it: who owns it, which segments it has, how much of it is unread.

    root/<instance_id>/  lock · cursor · forward.cursor · 00000001.seg … · dead/

In: segments as the writer grows them, and the cursor as whoever drains moves it (in this process or another; see
`spool_reader`). Out: how much waits; segments that were passed are deleted, where there is a follower by it too.
Ownership is a POSIX record lock (`fcntl.lockf`) on `lock`: unlike `flock`, a forked child does not keep it, and the
kernel drops it with the process. Such a lock is per process and goes when *any* descriptor of the file is closed, so a
registry keeps this process from opening a lock file twice. Never reads or writes a segment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.follower import Follower
from exporters.lock_files import lock_file
from exporters.segments import count_frames, list_segments, sync_directory
from exporters.spool_cursor import Cursor, CursorFile
from exporters.spool_folder import last_sign_of_life, make_directory, unlink_directory

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.segments import Segment

_REFRESH_EVERY_SECONDS = 0.1  # beside a writer at work: each look is three system calls

_registry_lock = threading.Lock()
_held: dict[str, SpoolDirectory] = {}


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits: frames, their bytes on disk and in memory, and about how long the oldest has waited."""

    frames: int
    bytes: int
    oldest_age_seconds: float


@dataclass(slots=True)
class _Mark:
    """Bytes up to (segment, offset) were written from `since` on; the clue to the age of what is unread."""

    segment: int
    offset: int
    since: float


class SpoolDirectory:
    """A directory this process owns. An adopted orphan is just that: drain it, then remove or release it."""

    def __init__(self, path: Path, *, lock: int) -> None:
        self.path = path
        self.instance_id = path.name
        self.last_alive_ns = last_sign_of_life(path)
        """When an earlier owner was last seen alive, in nanoseconds since the epoch: about a second exact."""
        self.unread_bytes = 0
        """At most so many; exact after `refresh`."""
        self._lock_descriptor = lock
        self._lock = threading.Lock()
        self._marks: deque[_Mark] = deque()
        self._refreshed_at = 0.0
        self._cursor_file = CursorFile(path / "cursor")
        self._follower = Follower.of(path)
        self._segments = list_segments(path)
        self.cursor = self._cursor_file.load() or Cursor()
        self._last_number = max([self.cursor.segment, *(segment.number for segment in self._segments)])
        for segment in self._segments:
            self._adopt(segment)
        self._drop_passed()

    @classmethod
    def acquire(cls, path: Path) -> SpoolDirectory | None:
        """Own `path` (it must exist), or None while anybody else does, in this process or another."""
        key = os.path.realpath(path)
        with _registry_lock:
            if key in _held:
                return None
            lock = lock_file(path / "lock")
            if lock is None:
                return None
            try:
                directory = cls(path, lock=lock)
            except BaseException:
                os.close(lock)
                raise
            _held[key] = directory
            return directory

    def mark_alive(self) -> None:
        """Leave a sign of life, so that who adopts this directory one day knows when its owner died."""
        with self._lock, contextlib.suppress(OSError):
            if self._lock_descriptor >= 0:
                os.utime(self._lock_descriptor)

    def keep_for_follower(self, *, max_bytes: int) -> None:
        """From now on a segment stays until the follower has passed it too, as long as no more than that stays so."""
        with self._lock:
            self._follower = Follower(self.path, max_bytes=max_bytes)

    @property
    def follower(self) -> Follower | None:
        """Who reads the spool beside the drain; None where nobody does."""
        return self._follower

    # --- the writer's side

    def restore_if_gone(self) -> None:
        """Make and own the directory anew if somebody deleted or moved it. OSError where that fails."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat((self.path / "lock").stat(), os.fstat(self._lock_descriptor)):
                return
        make_directory(self.path)
        lock = lock_file(self.path / "lock")
        if lock is None:
            raise FileExistsError(errno.EEXIST, "another process owns it now", str(self.path))
        with self._lock:
            old, self._lock_descriptor = self._lock_descriptor, lock
        os.close(old)
        sync_directory(self.path.parent)

    def take_number(self) -> int:
        """A segment number never used before: also above the cursor, which may outlive its file."""
        with self._lock:
            self._last_number += 1
            return self._last_number

    def add(self, segment: Segment) -> None:
        """Take a new segment into the list; it is read once it has grown."""
        with self._lock:
            self._segments.append(segment)

    def grow(self, segment: Segment, *, size: int, frames: int) -> None:
        """`size` more bytes, holding `frames` frames, reached the file and may be read."""
        now = time.time()
        with self._lock:
            segment.size += size
            segment.frames += frames
            self.unread_bytes += size
            last = self._marks[-1] if self._marks else None
            if last and last.segment == segment.number and now - last.since < 1:
                last.offset = segment.size
            else:
                self._marks.append(_Mark(segment.number, segment.size, now))
            if not 0 <= now - self._refreshed_at < _REFRESH_EVERY_SECONDS:
                self._refresh()

    def shrink(self, segment: Segment, *, size: int, frames: int) -> None:
        """Take back the last growth: its sync failed, and the frames are being written again elsewhere."""
        with self._lock:
            segment.size -= size
            segment.frames -= frames
            self._count_unread()

    def discard_empty(self, segment: Segment) -> None:
        """Delete a segment to which nothing was written that may be read."""
        with self._lock:
            if segment.size == 0 and segment in self._segments:
                self._segments.remove(segment)
                with contextlib.suppress(OSError):
                    segment.path.unlink()

    # --- what the drain did

    def refresh(self) -> None:
        """Look how far the drain has come; delete the segments it has passed."""
        with self._lock:
            self._refresh()

    @property
    def depth(self) -> Depth:
        """What is written and not committed."""
        with self._lock:
            self._refresh()
            frames = sum(map(self._unread_frames, self._segments))
            oldest = self._marks[0].since if self._marks and self.unread_bytes else None
            return Depth(frames, self.unread_bytes, 0.0 if oldest is None else max(0.0, time.time() - oldest))

    # --- the end

    def release(self) -> None:
        """Give the directory up and leave its files; anybody may adopt it."""
        self._let_go(unlink=False)

    def remove(self) -> None:
        """Delete the segments and give the directory up. A dead/ with frames in it stays, and the directory with it."""
        with self._lock:
            for segment in self._segments:
                segment.path.unlink(missing_ok=True)
            self._segments.clear()
            self._count_unread()
        self._let_go(unlink=True)

    def disown(self) -> None:
        """In a forked child: forget everything, touch nothing. The parent goes on."""
        self._lock = threading.Lock()
        self._lock_descriptor = -1
        self._segments = []
        self.unread_bytes = 0

    def _let_go(self, *, unlink: bool) -> None:
        with _registry_lock, self._lock:
            if self._lock_descriptor < 0:
                return
            if unlink:
                unlink_directory(self.path)
            self._cursor_file.close()
            if self._follower is not None:
                self._follower.close()
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1
            _held.pop(os.path.realpath(self.path), None)

    def _refresh(self) -> None:
        self._refreshed_at = time.time()
        if self._lock_descriptor < 0:
            return
        try:
            cursor = self._cursor_file.load()
        except OSError:
            return  # what is not known to be passed is kept
        has_followed = self._follower is not None and self._follower.refresh()
        if cursor is not None and cursor != self.cursor:
            self.cursor = cursor
            self._drop_passed()
        elif has_followed:
            self._drop_passed()

    def _adopt(self, segment: Segment) -> None:
        """Count what an earlier owner left in a segment."""
        is_begun = segment.number == self.cursor.segment
        passed, start = (self.cursor.index, self.cursor.offset) if is_begun else (0, 0)
        segment.frames = passed + count_frames(segment.path, start=start)
        self._marks.append(_Mark(segment.number, segment.size, segment.path.stat().st_mtime))

    def _drop_passed(self) -> None:
        """Delete the segments that were passed, the newest one never; what a follower needs is kept, within bounds."""
        while self._segments and self._is_passed(self._segments[0], self.cursor):
            if self._follower is not None and not self._is_passed(self._segments[0], self._follower.cursor):
                kept = sum(one.size for one in self._segments if one.number < self.cursor.segment)
                if not self._follower.gives_up(self._segments[0], kept=kept):
                    break
            passed = self._segments.pop(0)
            with contextlib.suppress(OSError):
                passed.path.unlink()
        while self._marks and (self._marks[0].segment, self._marks[0].offset) <= (
            self.cursor.segment,
            self.cursor.offset,
        ):
            self._marks.popleft()
        self._count_unread()

    def _is_passed(self, first: Segment, by: Cursor) -> bool:
        is_read = first.number == by.segment and by.offset >= first.size and not first.is_lent
        return first.number < by.segment or (is_read and len(self._segments) > 1)

    def _unread_frames(self, segment: Segment) -> int:
        if segment.number != self.cursor.segment:
            return segment.frames if segment.number > self.cursor.segment else 0
        return max(0, segment.frames - self.cursor.index) if self.cursor.offset < segment.size else 0

    def _count_unread(self) -> None:
        self.unread_bytes = sum(
            max(0, segment.size - (self.cursor.offset if segment.number == self.cursor.segment else 0))
            for segment in self._segments
            if segment.number >= self.cursor.segment
        )


def _disown_all() -> None:
    """A child has the objects but not the locks."""
    global _registry_lock  # noqa: PLW0603 - the parent's may have been held at the fork by a thread the child lacks
    _registry_lock = threading.Lock()
    for directory in _held.values():
        directory.disown()
    _held.clear()


os.register_at_fork(after_in_child=_disown_all)
