"""A spool that has no place yet: stands in for the real one, takes nothing, and counts what it did not take.

Where the folder of the spool cannot be made, the program goes on as if nothing had happened; its answers say that
nothing was kept. Same methods as `Spool`; never touches a disk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporters.spool_directory import Batch, Depth, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class AbsentSpool:
    """What an exporter has while there is no spool."""

    written = synced = corrupt_frames = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused = 0
        self._closed = threading.Event()

    def append(self, frame: bytes) -> int | None:  # noqa: ARG002 - the signature is Spool's
        """Refuse."""
        with self._lock:
            self._refused += 1
        return None

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many frames were refused."""
        return {"no_spool": self._refused} if self._refused else {}

    @property
    def depth(self) -> Depth:
        """Nothing."""
        return Depth(0, 0, 0.0)

    def relieve(self) -> None:
        """Nothing waits."""

    def mark_alive(self) -> None:
        """Nowhere to leave a sign."""

    def on_progress(self, callback: Callable[[int], None]) -> None:
        """There is none."""

    def wait_for_frames(self, timeout_seconds: float) -> bool:
        """Wait in vain."""
        self._closed.wait(timeout_seconds)
        return False

    def wake(self) -> None:
        """End the wait, and every later one."""
        self._closed.set()

    def read(self, *, max_frames: int, max_bytes: int) -> Batch:  # noqa: ARG002 - the signature is Spool's
        """Nothing."""
        return Batch([], Position(0, 0))

    def commit(self, end: Position) -> None:
        """Nothing to pass."""

    def bury(self, frame: bytes, *, reason: str) -> None:
        """Nothing was read that could be refused."""

    def close(self, *, timeout_seconds: float) -> None:
        """Nothing to give up."""
