"""Account: what became of each execution that ended: stored, still in the spool, or dropped and why.

In: the number of the frame that an execution's end became, or why there is none; and how far the drain has come. Out:
`Settled`. It counts executions, one by its end, where a spool counts frames: a start and child spans are frames too.
One byte for each frame in the spool; no I/O, and it never raises into who tells it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_ENCODED: Final = "not_encoded"
"""A failure of tracking: an execution ended, and no record could be made of it."""
NOT_OPENED: Final = "not_opened"
"""A failure of tracking: an execution could not even be opened."""
REJECTED: Final = "rejected"
"""The drain brought it to the store, which would not have it in any form."""


class Settled(NamedTuple):
    """Executions that ended, since the start of the process."""

    stored: int
    spooled: int
    dropped: dict[str, int]
    """By reason."""


class Account:
    """For one spool; thread-safe.

    >>> account = Account()
    >>> account.accept(1), account.accept(3), account.drop("spool_full")
    (None, None, None)
    >>> account.settle(2)
    Settled(stored=1, spooled=1, dropped={'spool_full': 1})
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._passed = 0
        self._waiting = bytearray()  # of each frame behind `_passed`, whether it is an execution's end
        self._accepted = 0
        self._left = 0
        self._rejected = 0
        self._dropped: dict[str, int] = {}
        self._dropped_at = float("-inf")

    def accept(self, sequence: int) -> None:
        """An execution's end is this frame of the spool; in any order, also after the drain passed it."""
        with self._lock:
            self._accepted += 1
            waiting, place = self._waiting, sequence - self._passed - 1
            if place == len(waiting):  # most are the next frame
                waiting.append(1)
            elif place < 0:
                self._left += 1
            else:
                waiting.extend(bytes(max(0, place + 1 - len(waiting))))
                waiting[place] = 1

    def drop(self, reason: str) -> None:
        """An execution's end is in no spool, nor will be."""
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
            self._dropped_at = self._clock()

    def reject(self, count: int) -> None:
        """So many of the ends that were accepted did not get into the store, nor will they."""
        with self._lock:
            self._rejected += count
            self._dropped[REJECTED] = self._rejected
            self._dropped_at = self._clock()

    def settle(self, delivered: int) -> Settled:
        """Frames up to this number have left the spool."""
        with self._lock:
            count = min(delivered - self._passed, len(self._waiting))
            if count > 0:
                self._left += self._waiting.count(1, 0, count)
                del self._waiting[:count]
            self._passed = max(self._passed, delivered)
            stored = max(0, self._left - self._rejected)  # of a rejection one may hear first
            return Settled(stored, self._accepted - self._rejected - stored, dict(self._dropped))

    def has_dropped_within(self, seconds: float) -> bool:
        """Whether anything was dropped since so long ago."""
        return self._clock() - self._dropped_at <= seconds
