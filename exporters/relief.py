"""Relief: frames go on reaching a file while the spool's writer hangs in a sync, so that they survive a kill.

In: frames that nobody else writes. Out: one segment of its own that holds them, written and not synced, for the writer
to sync when it comes back. Never syncs by itself, for that is what hangs. Not thread-safe: its spool sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.segment_writer import SegmentWriter
from exporters.segments import HEADER_BYTES, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporters.segments import Segment
    from exporters.spool_directory import SpoolDirectory


class Relief:
    """The frames of one hang."""

    def __init__(self, directory: SpoolDirectory, *, segment_bytes: int) -> None:
        self.frames: list[bytes] = []
        self.size = 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._file = SegmentWriter(directory, segment_bytes=segment_bytes, sync=False)

    @property
    def segment(self) -> Segment | None:
        """Where they are."""
        return self._file.last

    def fits(self, frames: Iterable[bytes]) -> bool:
        """Whether the segment has room for them all."""
        return self.size + sum(len(frame) + HEADER_BYTES for frame in frames) <= self._segment_bytes

    def write(self, frames: list[bytes]) -> None:
        """Write them all. OSError: none of them counts."""
        self.size += self._file.write(frames)
        self.frames += frames

    def sync(self) -> None:
        """Make all of it durable, and close the segment. OSError: it is to be written again elsewhere."""
        try:
            self._file.sync(size=self.size, frames=len(self.frames))
            sync_directory(self._directory.path)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Write no more into its segment; an empty one is deleted."""
        self._file.abandon()
