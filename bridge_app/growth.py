"""Growth: how fast a store grows, judged by the sizes that were seen. Pure: the clock is the caller's.

In: a size now and then. Out: bytes a day, over the last day or as much of it as was seen.
"""

from __future__ import annotations

from collections import deque
from typing import Final

DAY_SECONDS: Final = 86_400.0
_SEEN_EVERY_SECONDS: Final = 600.0
SHORTEST_SECONDS: Final = 3_600.0
"""Less says nothing: a write-ahead log alone comes and goes with 64 MiB."""


class Growth:
    """At most 146 sizes: of the last day, ten minutes apart.

    >>> growth = Growth()
    >>> for hour in range(3):
    ...     growth.see(1000 + hour * 10, now=hour * 3600.0)
    >>> growth.per_day
    240
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._newest = (0.0, 0)

    def see(self, size: int, *, now: float) -> None:
        """The store has this size, in bytes; `now` in seconds, never going back."""
        self._newest = (now, size)
        if not self._seen or now - self._seen[-1][0] >= _SEEN_EVERY_SECONDS:
            self._seen.append(self._newest)
        while now - self._seen[0][0] > DAY_SECONDS and len(self._seen) > 1:
            self._seen.popleft()

    @property
    def per_day(self) -> int | None:
        """Bytes a day, negative where it shrinks; None before an hour was seen."""
        if not self._seen:
            return None
        (then, before), (now, size) = self._seen[0], self._newest
        if now - then < SHORTEST_SECONDS:
            return None
        return round((size - before) * DAY_SECONDS / (now - then))


def days_until_full(free_bytes: int | None, per_day: int | None) -> float | None:
    """How long the disk lasts at that growth; None where it is not known, or nothing grows."""
    if free_bytes is None or per_day is None or per_day <= 0:
        return None
    return round(free_bytes / per_day, 1)
