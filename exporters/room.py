"""Room: whether a spool can take another frame, and the count of those it could not.

In: sizes in bytes, as they are queued and settled. Out: why a frame is refused, in the words of
`webhook_bridge.spool.dropped`. Memory and disk are one budget; memory has a bound of its own. It takes no lock: the
queue's is held around every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporters.segments import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from exporters.spool_directory import SpoolDirectory

MAX_QUEUED_BYTES: Final = 64 << 20


class Room:
    """`capacity` is what may wait in memory and on disk together, in bytes."""

    def __init__(self, directory: SpoolDirectory, *, capacity: int) -> None:
        self.queued_bytes = 0
        """What waits in memory."""
        self.dropped: dict[str, int] = {}
        """Frames lost, by reason."""
        self._directory = directory
        self._capacity = capacity

    def refusal(self, size: int, *, trouble: str | None) -> str | None:
        """Why so many bytes more cannot be taken; None where they can. `trouble` is what keeps the writer from it."""
        if self._fits(size):
            return None
        self._directory.refresh()  # the drain may have made room meanwhile
        if self._fits(size):
            return None
        if size > MAX_FRAME_BYTES or size > self._capacity:
            return "too_large"
        is_queue_full = self.queued_bytes + size > MAX_QUEUED_BYTES
        return trouble or ("queue_full" if is_queue_full else "spool_full")

    def drop(self, count: int, reason: str) -> None:
        """Count so many frames as lost."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _fits(self, size: int) -> bool:
        queued = self.queued_bytes + size
        return queued <= MAX_QUEUED_BYTES and queued + self._directory.unread_bytes <= self._capacity
