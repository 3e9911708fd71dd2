"""The writer's hold on the current segment file: choose a group, write it, sync it, or leave the file.

In: frames. Out: bytes in a segment, told to the directory only when they are all there. Any OSError leaves the
directory without the group, so the caller may simply try again. Not thread-safe: one writer thread owns it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from exporters.segments import HEADER_BYTES, Segment, create_segment, encode, write_all

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporters.spool_directory import SpoolDirectory


class SegmentWriter:
    """Appends to one segment after another."""

    def __init__(self, directory: SpoolDirectory, *, segment_bytes: int, sync: bool) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._sync = sync
        self.last: Segment | None = None
        """What was written to last; still known when it was left."""
        self._segment: Segment | None = None
        self._descriptor = -1

    def choose(self, pending: Collection[bytes], *, limit: int) -> list[bytes]:
        """The first frames of `pending`, at least one, up to about `limit` bytes, that the current segment takes."""
        if self._segment is not None:
            group = _first(pending, room=self._segment_bytes - self._segment.size, limit=limit)
            if group:
                return group
            self.abandon()
        # A frame larger than a segment gets one to itself.
        return _first(pending, room=self._segment_bytes, limit=limit) or [next(iter(pending))]

    def place_for(self, size: int) -> tuple[Segment, int] | None:
        """The current segment and its descriptor, for somebody else to append so many bytes; None: not enough room."""
        segment = self._segment
        if segment is None or segment.size + size > self._segment_bytes:
            return None
        return segment, self._descriptor

    def drop_tail(self) -> None:
        """Append to this file no more, and cut off what somebody else may have appended."""
        if self._segment is not None:
            self._cut_tail(self._segment)
            self.abandon()

    def write(self, group: list[bytes]) -> int:
        """Write the group, in a new segment if there is none; its size on disk. OSError: nothing of it counts."""
        segment = self.last = self._segment or self._create()
        data = encode(group)
        try:
            write_all(self._descriptor, data)
            self._check_place(segment)
        except OSError:
            self._cut_tail(segment)
            raise
        self._directory.grow(segment, size=len(data), frames=len(group))
        return len(data)

    def sync(self, *, size: int, frames: int) -> None:
        """Make the last write durable. OSError: it is taken back, and the file is not used again."""
        segment = self._segment
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            if segment is not None:
                self._directory.shrink(segment, size=size, frames=frames)
                self._cut_tail(segment)
            self.abandon()
            raise

    def abandon(self) -> None:
        """Append to this file no more; an empty one goes, or a disk that always fails would collect them."""
        segment, self._segment = self._segment, None
        descriptor, self._descriptor = self._descriptor, -1
        if segment is not None:
            self._directory.discard_empty(segment)
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # what counts was synced before
                os.close(descriptor)

    def _check_place(self, segment: Segment) -> None:
        """Writes into a file that somebody deleted or moved away succeed, and nobody would find them."""
        if not os.path.samestat(os.fstat(self._descriptor), os.stat(segment.path)):  # noqa: PTH116 - half the time
            raise FileNotFoundError(errno.ENOENT, "another file has taken its place", str(segment.path))

    def _create(self) -> Segment:
        self._directory.restore_if_gone()
        number = self._directory.take_number()
        segment, self._descriptor = create_segment(self._directory.path, number=number, sync=self._sync)
        self._segment = segment
        self._directory.add(segment)
        return segment

    def _cut_tail(self, segment: Segment) -> None:
        """Cut a torn or distrusted tail off; a file that refuses even that is left, its tail is never read here."""
        try:
            os.ftruncate(self._descriptor, segment.size)
        except OSError:
            self.abandon()


def _first(pending: Collection[bytes], *, room: int, limit: int) -> list[bytes]:
    group: list[bytes] = []
    size = 0
    for frame in pending:
        size += len(frame) + HEADER_BYTES
        if size > room or (group and size > limit):
            break
        group.append(frame)
    return group
