"""One instance's spool directory: who owns it, which segments it has, where the reader stands.

    root/<instance_id>/  lock · cursor · 00000001.seg … · dead/

In: segments as the writer grows them; out: batches of frames from the cursor on. Ownership is a POSIX record lock
(`fcntl.lockf`) on `lock`: unlike `flock`, a forked child does not keep it, and the kernel drops it with the process.
Such a lock is per process and goes when *any* descriptor of the file is closed, so a registry keeps this process from
opening a lock file twice. The cursor is 20 bytes: segment u64, offset u64, CRC-32; it is not synced, because repeats
are harmless downstream. Never writes a segment, never hands out a byte the writer did not report as written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.dead_frames import DeadFrames
from exporters.lock_files import lock_file
from exporters.segments import FILE_MODE, Scan, Segment, count_frames, list_segments, scan, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY_MODE = 0o700
_BLOCK_BYTES = 256 << 10
_CURSOR = struct.Struct("<QQ")
_CRC = struct.Struct("<I")

_registry_lock = threading.Lock()
_held: dict[str, SpoolDirectory] = {}


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the spool. `index` counts the frames passed in its segment, `corrupt` the damage since the cursor."""

    segment: int
    offset: int
    index: int = 0
    corrupt: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames in order, and the position to commit once they are safe elsewhere."""

    frames: list[bytes]
    end: Position


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
    """A directory this process owns. An adopted orphan is just that: read, commit, bury, then remove or release."""

    def __init__(self, path: Path, *, lock: int) -> None:
        self.path = path
        self.instance_id = path.name
        self.last_alive_ns = _last_sign_of_life(path)
        """When an earlier owner was last seen alive, in nanoseconds since the epoch: about a second exact."""
        self.corrupt_frames = 0
        self.unread_bytes = 0
        self._lock_descriptor = lock
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._readable = threading.Event()
        self._marks: deque[_Mark] = deque()
        self.dead = DeadFrames(path / "dead")
        self._cursor_descriptor = os.open(path / "cursor", os.O_RDWR | os.O_CREAT, FILE_MODE)
        self._segments = list_segments(path)
        self._cursor = self._load_cursor()
        self._last_number = max([self._cursor.segment, *(segment.number for segment in self._segments)])
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
        cursor = os.open(self.path / "cursor", os.O_RDWR | os.O_CREAT, FILE_MODE)
        with self._reading, self._lock:
            old = self._lock_descriptor, self._cursor_descriptor
            self._lock_descriptor, self._cursor_descriptor = lock, cursor
        for descriptor in old:
            os.close(descriptor)
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
        if not self._readable.is_set():
            self._readable.set()

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

    # --- the reader's side

    def read(self, *, max_frames: int, max_bytes: int) -> Batch:
        """Frames from the cursor on, at most `max_frames` and about `max_bytes`; the same again until a commit.

        Damaged stretches are skipped, and counted when they are committed. No frames means: nothing to read now.
        """
        with self._reading:
            frames: list[bytes] = []
            position, room = self._cursor, max_bytes
            while len(frames) < max_frames and room > 0:
                position, segment = self._settle(position)
                if segment is None:
                    break
                found = _scan_from(segment, position.offset, max_frames=max_frames - len(frames), max_bytes=room)
                if not found.consumed:
                    break
                frames += found.frames
                room -= sum(map(len, found.frames))
                position = Position(
                    position.segment,
                    position.offset + found.consumed,
                    position.index + len(found.frames),
                    position.corrupt + found.corrupt,
                )
        if not frames and position > self._cursor:
            self.commit(position)
        return Batch(frames, position)

    def commit(self, end: Position) -> None:
        """Never hand out again what lies before `end`; delete the segments passed. Going backwards does nothing."""
        with self._reading, self._lock:
            if self._lock_descriptor < 0 or (end.segment, end.offset) <= (self._cursor.segment, self._cursor.offset):
                return
            self.corrupt_frames += end.corrupt
            self._cursor = Position(end.segment, end.offset, end.index)
            packed = _CURSOR.pack(end.segment, end.offset)
            with contextlib.suppress(OSError):  # an old cursor repeats frames, which is harmless
                os.pwrite(self._cursor_descriptor, packed + _CRC.pack(zlib.crc32(packed)), 0)
            self._drop_passed()

    def wait_for_frames(self, timeout_seconds: float) -> bool:
        """Block until there is something to read; False when there is nothing after the timeout."""
        self._readable.clear()
        if not self.unread_bytes:
            self._readable.wait(timeout_seconds)
        return self.unread_bytes > 0

    def wake(self) -> None:
        """End a `wait_for_frames` early."""
        self._readable.set()

    @property
    def depth(self) -> Depth:
        """What is written and not committed."""
        with self._lock:
            frames = sum(map(self._unread_frames, self._segments))
            oldest = self._marks[0].since if self._marks and self.unread_bytes else None
            return Depth(frames, self.unread_bytes, 0.0 if oldest is None else max(0.0, time.time() - oldest))

    def bury(self, frame: bytes, *, reason: str) -> None:
        """Keep a refused frame, raw, in dead/. See `DeadFrames.bury`."""
        self.dead.bury(frame, reason=reason)

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
        self._lock, self._reading, self._readable = threading.Lock(), threading.Lock(), threading.Event()
        self._lock_descriptor = -1
        self._segments = []
        self.unread_bytes = 0

    def _let_go(self, *, unlink: bool) -> None:
        with _registry_lock, self._lock:
            if self._lock_descriptor < 0:
                return
            if unlink:
                _unlink_directory(self.path)
            os.close(self._cursor_descriptor)
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1
            _held.pop(os.path.realpath(self.path), None)

    def _load_cursor(self) -> Position:
        raw = os.pread(self._cursor_descriptor, _CURSOR.size + _CRC.size, 0)
        packed, checksum = raw[: _CURSOR.size], raw[_CURSOR.size :]
        if len(raw) == _CURSOR.size + _CRC.size and _CRC.unpack(checksum)[0] == zlib.crc32(packed):
            return Position(*_CURSOR.unpack(packed))
        return Position(0, 0)

    def _adopt(self, segment: Segment) -> None:
        """Count what an earlier owner left in a segment."""
        start = self._cursor.offset if segment.number == self._cursor.segment else 0
        segment.frames = count_frames(segment.path, start=start)
        self._marks.append(_Mark(segment.number, segment.size, segment.path.stat().st_mtime))

    def _settle(self, position: Position) -> tuple[Position, Segment | None]:
        """Where reading really goes on: at the start of the next segment, if this one is read to its end."""
        with self._lock:
            for segment in self._segments:
                if segment.number == position.segment and position.offset < segment.size:
                    return position, segment
                if segment.number > position.segment and segment.size:
                    return Position(segment.number, 0, 0, position.corrupt), segment
            return position, None

    def _drop_passed(self) -> None:
        """Delete the segments before the cursor, and the cursor's own once it is read and a newer one exists."""
        while self._segments and (
            self._segments[0].number < self._cursor.segment
            or (len(self._segments) > 1 and self._segments[0].number == self._cursor.segment and self._is_consumed())
        ):
            passed = self._segments.pop(0)
            if passed.number == self._cursor.segment:
                self._cursor = Position(passed.number, self._cursor.offset)
            with contextlib.suppress(OSError):
                passed.path.unlink()
        while self._marks and (self._marks[0].segment, self._marks[0].offset) <= (
            self._cursor.segment,
            self._cursor.offset,
        ):
            self._marks.popleft()
        self._count_unread()

    def _is_consumed(self) -> bool:
        return self._cursor.offset >= self._segments[0].size

    def _unread_frames(self, segment: Segment) -> int:
        if segment.number != self._cursor.segment:
            return segment.frames
        return max(0, segment.frames - self._cursor.index) if self._cursor.offset < segment.size else 0

    def _count_unread(self) -> None:
        self.unread_bytes = sum(
            max(0, segment.size - (self._cursor.offset if segment.number == self._cursor.segment else 0))
            for segment in self._segments
        )


def make_directory(path: Path) -> None:
    """Make `path`, the root above it and that one's folder where absent, for nobody else to read."""
    path.parent.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    path.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def orphans(root: Path, *, limit: int = 64) -> list[SpoolDirectory]:
    """Own spools below `root` whose process is dead; of several who try, one gets it. See `SpoolDirectory`.

    The first `limit` by name: each takes two descriptors, and a bridge that kept crashing leaves thousands.
    """
    adopted: list[SpoolDirectory] = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if len(adopted) >= limit:
            break
        if not path.is_dir() or path.is_symlink():
            continue
        if not (path / "lock").exists() and not any(path.glob("*.seg")):
            continue  # an owner is just making it, or only evidence in dead/ is left, which is for people
        try:
            directory = SpoolDirectory.acquire(path)
        except OSError:  # it went away, or is not ours to read: the next look decides again
            continue
        if directory is not None:
            adopted.append(directory)
    return adopted


def _last_sign_of_life(path: Path) -> int:
    """Not the cursor's: who adopts a directory moves it too."""
    signs = [path / "lock", *(segment.path for segment in list_segments(path))]
    return max(sign.stat().st_mtime_ns for sign in signs)


def _scan_from(segment: Segment, offset: int, *, max_frames: int, max_bytes: int) -> Scan:
    """Scan from `offset`, with a larger block whenever one frame or one damaged stretch does not fit."""
    rest = segment.size - offset
    try:
        descriptor = os.open(segment.path, os.O_RDONLY)
    except FileNotFoundError:
        return Scan([], rest, 1)
    try:
        block = _BLOCK_BYTES
        while True:
            asked = min(block, rest)
            data = os.pread(descriptor, asked, offset)
            cut = len(data) < asked  # somebody truncated the file
            found = scan(data, final=cut or asked == rest, max_frames=max_frames, max_bytes=max_bytes)
            if cut and found.consumed == len(data):
                return Scan(found.frames, rest, found.corrupt + 1)
            if found.consumed or asked == rest:
                return found
            block *= 4
    finally:
        os.close(descriptor)


def _unlink_directory(path: Path) -> None:
    with contextlib.suppress(OSError):
        (path / "dead").rmdir()
    with contextlib.suppress(OSError):
        (path / "cursor").unlink(missing_ok=True)
        (path / "lock").unlink(missing_ok=True)
        path.rmdir()


def _disown_all() -> None:
    """A child has the objects but not the locks."""
    global _registry_lock  # noqa: PLW0603 - the parent's may have been held at the fork by a thread the child lacks
    _registry_lock = threading.Lock()
    for directory in _held.values():
        directory.disown()
    _held.clear()


os.register_at_fork(after_in_child=_disown_all)
