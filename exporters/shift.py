"""Shift: who is at work on a spool: its writer's thread, a lane that has a loan, or nobody, while there is no work.

In: that there is work, or none left. Out: the lane asked, or the writer woken. No lock of its own: every call is made
under the lock of the spool's queue.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.loans import Loan, TakesLoans


class Shift:
    """Begins with the writer at work."""

    def __init__(self) -> None:
        self.lane: TakesLoans | None = None
        self.loan: Loan | None = None
        """Out, and neither repaid nor taken back: the writer rests."""
        self.woken = threading.Lock()
        """A bare lock is the cheapest wake-up: held while the writer has no call, acquired by it to wait for one."""
        self.woken.acquire()
        self._idle = False

    @property
    def is_free(self) -> bool:
        """Nobody is at work."""
        return self._idle and self.loan is None

    def rest(self) -> None:
        """The writer found nothing to do; it waits for `woken` next, without the lock."""
        self._idle = True

    def start_work(self) -> None:
        """Have what is queued written, by the lane if it will; nothing to do where somebody is at it."""
        if self._idle and self.loan is None and (self.lane is None or not self.lane.ask()):
            self.wake_writer()

    def wake_writer(self) -> None:
        """Have the writer look, unless it does or a loan is out."""
        if self._idle and self.loan is None:
            self._idle = False
            self.woken.release()

    def disown(self) -> None:
        """In a forked child: nobody will work."""
        self.lane = self.loan = None
