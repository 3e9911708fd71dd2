"""Follower: whoever reads a spool beside its drain, with a cursor of its own, as the spool's owner sees it.

In: the cursor file that the follower moves. Out: how far it got, and whether a segment that only it still needs may go.
That file is its registration: where there is none, nobody follows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from exporters.spool_cursor import Cursor, CursorFile
from exporters.spool_reader import bytes_behind

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.segments import Segment

FOLLOWER_CURSOR: Final = "forward.cursor"
FOLLOWER_PENDING: Final = "forward.pending"
FOLLOWER_FILES: Final = (FOLLOWER_CURSOR, FOLLOWER_PENDING)


class Follower:
    """For the owner of the directory; `max_bytes` is what may stay on disk for the follower alone, None: all of it."""

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        self.unread = 0
        """Frames that went before it had read them."""
        self._path = path
        self._max_bytes = max_bytes
        self._file = CursorFile(path / FOLLOWER_CURSOR)
        self.cursor = self._file.load() or Cursor()

    @classmethod
    def of(cls, path: Path) -> Follower | None:
        """Of that directory; None where nobody follows."""
        return cls(path) if (path / FOLLOWER_CURSOR).exists() else None

    def refresh(self) -> bool:
        """Look how far it has come; whether that is farther than before."""
        with contextlib.suppress(OSError):  # what is not known to be passed is kept
            cursor = self._file.load()
            if cursor is not None and cursor != self.cursor:
                self.cursor = cursor
                return True
        return False

    def gives_up(self, segment: Segment, *, kept: int) -> bool:
        """Whether that segment goes though it was not read, because `kept` bytes are too many; then it is counted."""
        if self._max_bytes is None or kept <= self._max_bytes:
            return False
        read = self.cursor.index if segment.number == self.cursor.segment else 0
        self.unread += max(0, segment.frames - read)
        return True

    def is_behind(self) -> bool:
        """Whether there is something in the directory that it has not read, or not decided about."""
        self.refresh()
        return (self._path / FOLLOWER_PENDING).exists() or bytes_behind(self._path, self.cursor) > 0

    def close(self) -> None:
        """Let go of the cursor file. Once."""
        self._file.close()


def is_followed_up(path: Path) -> bool:
    """Whether nobody follows that directory, or has read it all."""
    try:
        follower = Follower.of(path)
    except OSError:
        return True  # it is gone
    if follower is None:
        return True
    try:
        return not follower.is_behind()
    finally:
        follower.close()
