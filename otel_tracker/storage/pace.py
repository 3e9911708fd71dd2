"""How much a maintenance transaction does at a time: so much that it holds the database for about 15 ms. Pure.

In: how long the last one held it. Out: how much the next one should do, and how long to leave the database to others
before. Whoever writes meanwhile waits for one such transaction at most, and gets at least half of the time.
"""

from __future__ import annotations

from typing import Final

HOLD_SECONDS: Final = 0.015
_FASTER: Final = 1.5
_LEAST: Final = 1


class Pace:
    """Of one kind of work."""

    def __init__(self, *, first: int, most: int) -> None:
        self.size = first
        """Rows, or pages, of the next transaction."""
        self._most = most

    def took(self, seconds: float, *, done: int) -> None:
        """A transaction that did so many held the database for so long.

        >>> pace = Pace(first=100, most=1000)
        >>> pace.took(0.030, done=100), pace.size
        (None, 50)
        >>> pace.took(0.001, done=50), pace.size
        (None, 75)
        """
        wanted = self.size if seconds <= 0 else int(done * HOLD_SECONDS / seconds)
        if wanted > self.size and done < self.size:
            return  # it was small for want of work, which tells nothing of a larger one
        self.size = max(_LEAST, min(self._most, wanted, int(self.size * _FASTER) + 1 if wanted > self.size else wanted))
