"""StandIn: writes what is queued while a spool's writer hangs in a sync, and hands it over when the writer is back.

In: a queue that hangs, from whatever thread can wait. Out: reliefs, for the writer to sync. Its lock is taken before
the queue's, and held while a relief is being written; the writer, which takes it too, hangs elsewhere meanwhile.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from exporters.relief import Relief

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.spool_directory import SpoolDirectory


class MayHang(Protocol):
    """A queue, as who stands in for its writer sees it."""

    def take_hung(self, fits: Callable[[list[bytes]], bool]) -> list[bytes]:
        """What is queued, if its writer is in a sync and it `fits`; else nothing."""
        ...

    def put_back(self, frames: list[bytes]) -> None:
        """They could not be written."""
        ...

    def note_written(self, count: int) -> None:
        """So many more are in a file."""
        ...


class StandIn:
    """For one spool: a relief at a time."""

    def __init__(self, directory: SpoolDirectory, *, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._relief = self._next_relief()

    def relieve(self, queue: MayHang) -> None:
        """Write, though not sync, what is queued while the writer hangs; else do nothing. May block."""
        with self._lock:
            frames = queue.take_hung(self._relief.fits)
            if not frames:
                return
            try:
                self._relief.write(frames)
            except OSError:
                queue.put_back(frames)
            except BaseException:
                queue.put_back(frames)
                raise
            else:
                queue.note_written(len(frames))

    def hand_over(self) -> Relief | None:
        """What was written, for the writer to sync; None when that failed. Waits for what is just being written."""
        with self._lock:
            relief, self._relief = self._relief, self._next_relief()
        if relief.frames:
            return relief
        relief.abandon()  # it failed; the next one must be in a later file
        return None

    def disown(self) -> None:
        """In a forked child, where the lock may have been held."""
        self._lock = threading.Lock()

    def _next_relief(self) -> Relief:
        return Relief(self._directory, segment_bytes=self._segment_bytes)
