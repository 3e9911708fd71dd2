"""How much a maintenance transaction does at a time: so much that it holds the database for about 15 ms. Pure.

In: how long the last one held it. Out: how much the next one should do, and how long to leave the database to others
before. Whoever writes meanwhile waits for one such transaction at most, and gets at least half of the time.
"""

from __future__ import annotations

from typing import Final

HOLD_SECONDS: Final = 0.015
_FASTER: Final = 1.5
"""What a step up multiplies by at most: one that is quick for some other reason is not followed by one that blocks."""


class Pace:
    """Of one kind of work."""

    def __init__(self, *, least: int, most: int) -> None:
        """`least` is what a transaction is worth: its commit takes as long, however little it does."""
        self.size = least
        """Rows, or pages, of the next transaction."""
        self._least, self._most = least, most

    def took(self, seconds: float, *, done: int) -> None:
        """A transaction that did so many held the database for so long.

        >>> pace = Pace(least=100, most=1000)
        >>> pace.took(0.001, done=100), pace.size
        (None, 151)
        >>> pace.took(0.020, done=151), pace.size
        (None, 113)
        """
        fitting = int(done * HOLD_SECONDS / max(seconds, 1e-6))
        if fitting <= self.size:
            self.size = max(self._least, fitting)
        elif done >= self.size:  # a small one, for want of work, tells nothing of a larger one
            self.size = min(self._most, fitting, int(self.size * _FASTER) + 1)
