"""Progress: how far the frames of a spool got, written and settled, and whoever waits for it.

In: counts, as frames reach a file and are made safe there. Out: the number of the last such frame, and waiters woken.
No lock of its own: every call is made under the lock of the spool's queue, which is given up while somebody waits. A
call changes everything or, where it fails, nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """Of frames 1, 2, 3 …; both numbers only grow, and may be read without the lock."""

    def __init__(self, lock: threading.RLock) -> None:
        self.written = 0
        """Every frame up to this number is in a file."""
        self.settled = 0
        """Every frame up to this number is as safe as it gets."""
        self._changed = threading.Condition(lock)
        self._waiters = 0

    def write(self, count: int) -> None:
        """So many frames more, after those that were written, are in a file."""
        self.written += count
        if self._waiters:
            self._changed.notify_all()

    def write_behind_settled(self, count: int) -> None:
        """So many frames more, after those that are settled, are in a file."""
        self.written = max(self.written, self.settled + count)
        if self._waiters:
            self._changed.notify_all()

    def settle(self, count: int) -> None:
        """So many frames more are as safe as they get."""
        self.settled += count
        self.written = max(self.written, self.settled)
        if self._waiters:
            self._changed.notify_all()

    def wake(self) -> None:
        """Have all who wait look again."""
        self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Until it is true when somebody looks, or so long."""
        self._waiters += 1
        try:
            self._changed.wait_for(condition, seconds)
        finally:
            self._waiters -= 1

    def disown(self, lock: threading.RLock) -> None:
        """In a forked child, where the lock may have been held: nobody waits any more."""
        self._changed, self._waiters = threading.Condition(lock), 0
