"""DeliveryMarks: which frames a drain has passed, told by where its cursor is.

In: where each group of frames ended, and later a cursor. Out: a sequence number, a little behind or exact, never ahead.
No lock and no I/O: its caller holds the lock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from exporters.segments import Segment
    from exporters.spool_cursor import Cursor

_MARK_BYTES: Final = 64 << 10


class _Mark(NamedTuple):
    begins: int
    """Offset at which it was made; it moves on with what is appended soon after."""
    place: tuple[int, int]
    """Segment and offset: where the cursor must be."""
    sequence: int


class DeliveryMarks:
    """Marks in the order in which the frames were written."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._delivered = 0

    def add(self, segment: Segment, sequence: int) -> None:
        """Frames up to this number are in front of where the segment ends now; one mark for every 64 KiB or so."""
        last = self._marks[-1] if self._marks else None
        place = (segment.number, segment.size)
        if last is not None and last.place[0] == segment.number and segment.size - last.begins < _MARK_BYTES:
            self._marks[-1] = _Mark(last.begins, place, sequence)
        else:
            self._marks.append(_Mark(segment.size, place, sequence))

    def delivered(self, cursor: Cursor) -> int:
        """Every frame up to this number is in front of the cursor; marks that it passed are forgotten."""
        while self._marks and self._marks[0].place <= (cursor.segment, cursor.offset):
            self._delivered = max(self._delivered, self._marks.popleft().sequence)
        return self._delivered
