"""SpoolQueue: the frames a spool has accepted and not yet made safe, and the count of all that it ever took.

In: frames, from any thread. Out: the same frames to whoever writes them (the writer's thread, a lane, a stand-in), and
how far they got. One lock guards it all. It is held for moments, never during a write or a sync; of the other locks
only a stand-in's may be held when it is taken. Never touches a segment.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from exporters.delivery_marks import DeliveryMarks
from exporters.listeners import Listeners
from exporters.loans import Loan
from exporters.progress import Progress
from exporters.room import Room
from exporters.segments import HEADER_BYTES
from exporters.shift import Shift

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from exporters.loans import TakesLoans
    from exporters.rare_log import RareLog
    from exporters.segments import Segment
    from exporters.spool_cursor import Cursor
    from exporters.spool_directory import SpoolDirectory

_LOAN_SECONDS: Final = 1.0


class SpoolQueue:
    """Numbers frames 1, 2, 3 …; `capacity` is what may wait in memory and on disk together, in bytes."""

    def __init__(self, directory: SpoolDirectory, *, capacity: int, log: RareLog) -> None:
        self.log = log
        self.listeners = Listeners(log)
        self.sequence = 0
        """The number of the last frame accepted."""
        self.trouble: str | None = None
        """Why the writer does not get on, as a reason of refusals; set by the writer."""
        self.closing = threading.Event()
        self.give_up_at = float("inf")
        """When a closing writer stops trying, by the monotonic clock."""
        self._directory = directory
        self._room = Room(directory, capacity=capacity)
        self._lock = threading.RLock()  # re-entrant: a collected object's __del__ may append inside an append
        self._progress = Progress(self._lock)
        self._shift = Shift()
        self._marks = DeliveryMarks()
        self._closed_reason: str | None = None
        self._gave_up = False
        self._queue: list[bytes] = []
        self._returned: list[bytes] = []  # of a loan taken back: before all else, and not in the current file
        self._tail: Segment | None = None  # the current file, where what was returned is whole in it
        self._syncs_all = False  # the writer is in a sync, and all that it took is in the file already
        self.is_relieved = False
        """A stand-in took frames for a later file. The writer's gets no more: a drain may pass it before it is left."""

    # --- any thread

    def append(self, frame: bytes, on_refusal: Callable[[str], object] | None = None) -> int | None:
        """See `Spool.append`."""
        size = len(frame) + HEADER_BYTES
        with self._lock:
            reason = self._closed_reason or self._room.refusal(size, trouble=self.trouble)
            if reason is not None:
                self._room.drop(1, reason)
                if on_refusal is not None:
                    on_refusal(reason)
                return None
            self._room.queued_bytes += size
            self._queue.append(frame)
            self.sequence += 1
            self._shift.start_work()
            return self.sequence

    @property
    def written(self) -> int:
        """Every frame up to this number reached its file."""
        progress, loan = self._progress, self._shift.loan
        if loan is not None and loan.wrote():
            return max(progress.written, progress.settled + len(loan.frames))
        return progress.written

    @property
    def settled(self) -> int:
        """Every frame up to this number is as safe as it gets."""
        return self._progress.settled

    def wait(self, seq: int, *, timeout_seconds: float, synced: bool, is_manned: Callable[[], bool]) -> bool:
        """Block until frame `seq` got so far; False after the timeout, or when nobody `is_manned` to do it any more."""

        def has_come() -> bool:
            return (self._progress.settled if synced else self._progress.written) >= seq

        def is_over() -> bool:
            return self._gave_up or self._closed_reason == "forked" or not is_manned()

        with self._lock:
            self._progress.wait_for(lambda: has_come() or is_over(), timeout_seconds)
            return has_come()

    @property
    def dropped(self) -> dict[str, int]:
        """Frames lost, by reason."""
        with self._lock:
            return dict(self._room.dropped)

    @property
    def unsettled(self) -> tuple[int, int]:
        """Frames and bytes that are not settled, nor given up."""
        with self._lock:
            return (0, 0) if self._gave_up else (self.sequence - self.settled, self._room.queued_bytes)

    def delivered(self, cursor: Cursor) -> int:
        """See `DeliveryMarks.delivered`."""
        with self._lock:
            return self._marks.delivered(cursor)

    def close(self, *, timeout_seconds: float) -> bool:
        """Take no more, and have the writer do what is left, a loan included; False when it was closed before."""
        with self._lock:
            if self._closed_reason is not None:
                return False
            self._closed_reason = "closed"
            self.give_up_at = time.monotonic() + timeout_seconds
            self.closing.set()
            loan = self._shift.loan
            if loan is not None:
                self._progress.wait_for(lambda: self._shift.loan is None, min(timeout_seconds, _LOAN_SECONDS))
                self.take_back(loan, is_written=loan.wrote())
            self._shift.wake_writer()
            return True

    def disown(self) -> None:
        """In a forked child, where the lock may have been held."""
        self._lock = threading.RLock()
        self._progress.disown(self._lock)
        self._closed_reason = "forked"
        self._shift.disown()
        self._queue, self._returned = [], []

    # --- who works in the writer's place: see `Lends` and `MayHang`

    def use_lane(self, lane: TakesLoans) -> None:
        """From now on everyday work is asked of the lane."""
        self._shift.lane = lane

    def lend(self, *, max_bytes: int, place_for: Callable[[int], tuple[Segment, int] | None]) -> Loan | None:
        """What is queued, if it is of so many bytes and there is a `place_for` them; else the writer is woken."""
        with self._lock:
            if not self._shift.is_free or not self._queue:
                return None
            size = self._room.queued_bytes
            is_usual = size <= max_bytes and not self.is_relieved and self._closed_reason is None
            place = place_for(size) if is_usual and not self._returned else None
            if place is None:
                self._shift.wake_writer()
                return None
            frames, self._queue = self._queue, []
            loan = self._shift.loan = Loan(frames, size, *place)
            loan.segment.is_lent = True
            return loan

    def repay(self, loan: Loan) -> None:
        """A loan is in its segment, as safe as it gets."""
        with self._lock:
            if self._shift.loan is not loan:
                return  # it was taken back, and is written again
            self._directory.grow(loan.segment, size=loan.size, frames=len(loan.frames))
            loan.segment.is_lent = False
            self.settle(len(loan.frames), size=loan.size, segment=loan.segment)
        self.tell()
        with self._lock:
            if self.is_relieved or self._closed_reason is not None:
                self._shift.wake_writer()
            elif self._queue:
                self._shift.start_work()

    def take_back(self, loan: Loan, *, is_written: bool) -> None:
        """The writer writes it again, elsewhere; until then nothing but what `is_written` is safe from a kill."""
        with self._lock:
            if self._shift.loan is loan:
                self._shift.loan = None
                loan.segment.is_lent = is_written  # then it stays until the writer has written all of it
                self._tail = loan.segment if is_written else None
                self._returned.extend(loan.frames)
                self._shift.wake_writer()

    def recall(self) -> None:
        """The writer does whatever there is to do, a loan included."""
        with self._lock:
            loan = self._shift.loan
            if loan is not None:
                self.take_back(loan, is_written=loan.wrote())
            elif self._queue:
                self._shift.wake_writer()

    def take_hung(self, fits: Callable[[list[bytes]], bool]) -> list[bytes]:
        """What is queued, if whoever writes is in a sync and it `fits`; else nothing."""
        with self._lock:
            loan = self._shift.loan
            is_in_sync = self._syncs_all or (loan is not None and loan.wrote())
            if not (self._queue and is_in_sync and fits(self._queue)):
                return []
            if loan is not None:
                self._progress.write_behind_settled(len(loan.frames))
            frames, self._queue = self._queue, []
            self.is_relieved = True
            return frames

    def put_back(self, frames: list[bytes]) -> None:
        """Queue again what was taken, before what came since."""
        with self._lock:
            self._queue[:0] = frames
            self._shift.start_work()  # where the hang is over already

    def note_written(self, count: int) -> None:
        """So many more frames are in a file."""
        with self._lock:
            self._progress.write(count)
            self._shift.wake_writer()  # where the hang is over already: they are to be synced

    # --- the writer

    def move_returned(self, pending: deque[bytes]) -> tuple[bool, Segment | None]:
        """Move to `pending` what was lent and taken back; whether there was any, and where it is whole, too."""
        if not self._returned:
            return False, None
        with self._lock:
            pending.extend(self._returned)
            self._returned.clear()
            return True, self._tail

    def end_relief(self) -> None:
        """The writer has left its file, and whatever it writes from now on is in a later one."""
        with self._lock:
            self.is_relieved = False

    def move(self, pending: deque[bytes]) -> bool:
        """Move all that is queued to `pending`, or wait for a call; False when closed and done."""
        with self._lock:
            if self._queue:
                pending.extend(self._queue)
                self._queue.clear()
                return True
            if self._closed_reason is not None:
                return False
            self._shift.rest()
        self._shift.woken.acquire()
        return True

    def note_sync(self, *, syncs_all: bool, count: int = 0) -> None:
        """The writer is about to sync `count` frames more, which are in the file."""
        with self._lock:
            self._progress.write_behind_settled(count)
            self._syncs_all = syncs_all

    def note_failure(self, trouble: str) -> None:
        """A write or a sync failed."""
        with self._lock:
            self._syncs_all = False
        self.trouble = trouble

    def settle(self, count: int, *, size: int, segment: Segment | None) -> None:
        """So many frames more, the last `size` bytes of `segment`, are as safe as they get."""
        with self._lock:
            if segment is not None:
                self._marks.add(segment, self._progress.settled + count)
            self._progress.settle(count)  # what may fail comes first: either all of this is done, or nothing
            self._room.queued_bytes -= size
            self._syncs_all = False
            self._shift.loan = None

    def tell(self) -> None:
        """Have the listeners called. After `settle`, and when whoever settled has let go of the frames."""
        self.listeners.tell(self.settled)

    def give_up(self, reason: str) -> None:
        """Count every frame not yet settled as lost; a later owner may still find those that were written."""
        with self._lock:
            if self._gave_up:
                return
            self._gave_up = True
            lost = self.sequence - self.settled
            if lost:
                self._room.drop(lost, reason)
            self._closed_reason = self._closed_reason or reason
            self._queue.clear()
            self._progress.wake()

    def end(self) -> None:
        """The writer does no more: nobody need wait."""
        with self._lock:
            self._progress.wake()
