"""Reads a spool from its files: batches of frames from the cursor on. The owner may go on appending meanwhile.

In: the directory. Out: `Batch`es; the same again until one is committed. It takes no lock and needs no word of the
owner: what a segment file holds was written, a frame counts by its checksum, and an unfinished one at the end of the
newest segment is left until it is whole, or until a newer segment shows that it never will be. It never writes a
segment and deletes none. One reader per spool and cursor: whoever drains it, and whoever follows it.

A destination may keep `Place`s, and then knows better than the cursor file how far it got. A place names the bytes
before it by their checksum: it is of no account in another spool that has the same name.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exporters.dead_frames import DeadFrames
from exporters.segments import Scan, list_segments, scan, segment_path
from exporters.spool_cursor import Cursor, CursorFile, decode_cursor

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.segments import Segment

_BLOCK_BYTES = 256 << 10
_WITNESS_BYTES = 512


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames in order, and the cursor to commit once they are safe elsewhere."""

    frames: list[bytes]
    end: Cursor
    last: Cursor
    """Right behind the last byte that was read: `end`, or before a newer segment of which nothing was read."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor that can be kept elsewhere."""

    cursor: Cursor
    checksum: int
    """CRC-32 of the bytes before it in its segment, at most `_WITNESS_BYTES`."""


class SpoolReader:
    """`is_growing=False` for a spool whose owner is gone: then the last torn frame is damage, too."""

    def __init__(self, path: Path, *, is_growing: bool = True, cursor_name: str = "cursor") -> None:
        self.path = path
        self.instance_id = path.name
        self.dead = DeadFrames(path / "dead")
        self._is_growing = is_growing
        self._file = CursorFile(path / cursor_name)
        self.cursor = self._file.load() or Cursor()
        self._is_stored = True

    def read(self, *, max_frames: int, max_bytes: int) -> Batch:
        """At most `max_frames` and about `max_bytes`; no frames means that there is nothing to read now.

        Damaged stretches are skipped, and counted in the cursor when they are committed.
        """
        if not self._is_stored:
            self._store()
        frames: list[bytes] = []
        end, room = self.cursor, max_bytes
        last = end
        segments = [segment for segment in list_segments(self.path) if segment.number >= end.segment]
        for segment in segments:
            if segment.number > end.segment:
                end = replace(end, segment=segment.number, offset=0, index=0)
            is_final = not self._is_growing or segment is not segments[-1]
            while end.offset < segment.size and len(frames) < max_frames and room > 0:
                found = _scan_from(
                    segment, end.offset, is_final=is_final, max_frames=max_frames - len(frames), max_bytes=room
                )
                if not found.consumed:
                    break
                frames += found.frames
                room -= sum(map(len, found.frames))
                end = last = _passed(end, found)
            if end.offset < segment.size:
                break
        if not frames and end > self.cursor:
            self.commit(Batch([], end, last))
        return Batch(frames, end, last)

    def commit(self, batch: Batch) -> None:
        """Never hand these frames out again. An older batch does not move the cursor back."""
        if batch.end > self.cursor:
            self.cursor, self._is_stored = batch.end, False
            self._store()

    def place(self, cursor: Cursor) -> Place | None:
        """That cursor with its checksum; None where the bytes before it are gone, or it is a segment's beginning."""
        checksum = _checksum(self.path, cursor)
        return None if checksum is None else Place(cursor, checksum)

    def skip_to(self, place: Place) -> bool:
        """Move the cursor forward to that place, if it is of this spool; whether that moved it."""
        if place.cursor <= self.cursor or self.place(place.cursor) != place:
            return False
        self.commit(Batch([], place.cursor, place.cursor))
        return True

    def _store(self) -> None:
        """Tell the owner; where the disk refuses, the next look tries again."""
        with contextlib.suppress(OSError):
            self._file.store(self.cursor)
            self._is_stored = True

    def has_frames(self) -> bool:
        """Whether there are bytes behind the cursor."""
        return self.bytes_behind > 0

    @property
    def bytes_behind(self) -> int:
        """How many bytes there are behind the cursor."""
        return bytes_behind(self.path, self.cursor)

    def bury(self, frame: bytes, *, reason: str) -> None:
        """Keep a refused frame, raw, in dead/. See `DeadFrames.bury`."""
        self.dead.bury(frame, reason=reason)

    def close(self) -> None:
        """Let go of the cursor file. Once."""
        self._file.close()


def bytes_waiting(path: Path) -> int:
    """How many bytes a spool holds that were not drained; nothing is opened for writing."""
    try:
        cursor = decode_cursor((path / "cursor").read_bytes())
    except OSError:
        cursor = None
    return bytes_behind(path, cursor or Cursor())


def bytes_behind(path: Path, at: Cursor) -> int:
    """How many bytes of a spool are behind that cursor."""
    return sum(
        max(0, segment.size - (at.offset if segment.number == at.segment else 0))
        for segment in list_segments(path)
        if segment.number >= at.segment
    )


def _checksum(directory: Path, at: Cursor) -> int | None:
    length = min(at.offset, _WITNESS_BYTES)
    if not length:
        return None
    try:
        descriptor = os.open(segment_path(directory, at.segment), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.pread(descriptor, length, at.offset - length)
    finally:
        os.close(descriptor)
    return zlib.crc32(data) if len(data) == length else None


def _passed(at: Cursor, found: Scan) -> Cursor:
    return Cursor(
        at.segment,
        at.offset + found.consumed,
        at.index + len(found.frames),
        at.corrupt + found.corrupt,
    )


def _scan_from(segment: Segment, offset: int, *, is_final: bool, max_frames: int, max_bytes: int) -> Scan:
    """Scan from `offset`, with a larger block whenever one frame or one damaged stretch does not fit."""
    rest = segment.size - offset
    try:
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Scan([], rest, 1)
    try:
        block = _BLOCK_BYTES
        while True:
            asked = min(block, rest)
            data = os.pread(descriptor, asked, offset)
            is_all = asked == rest or len(data) < asked  # shorter: the owner cut a torn tail off
            found = scan(data, final=is_final and is_all, max_frames=max_frames, max_bytes=max_bytes)
            if is_final and len(data) < asked and found.consumed == len(data):
                return Scan(found.frames, rest, found.corrupt + 1)
            if found.consumed or is_all:
                return found
            block *= 4
    finally:
        os.close(descriptor)
