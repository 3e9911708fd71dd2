"""The promise that tracking never raises into what it tracks: failures are caught here, counted, and logged seldom.

Every entry from tracked code into the tracker runs inside `try: … except BaseException as error: failsafe.caught(…)`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG_EVERY_SECONDS: Final = 60.0


class Failsafe:
    """Counts failures by place; logs each place at most once a minute, with the traceback and the count so far."""

    def __init__(self, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures: Counter[str] = Counter()
        self._logger = logger
        self._clock = clock
        self._quiet_until: dict[str, float] = {}

    def caught(self, place: str, error: BaseException) -> None:
        """Note a failure; never raises, not even when logging does."""
        try:
            self.failures[place] += 1
            now = self._clock()
            if now >= self._quiet_until.get(place, 0.0):
                self._quiet_until[place] = now + _LOG_EVERY_SECONDS
                self._logger.error(
                    "Tracking failed in %s (%d times so far); the tracked code is not affected.",
                    place,
                    self.failures[place],
                    exc_info=error,
                )
        except BaseException:  # noqa: BLE001, S110 - whatever fails here must not reach the code around it
            pass


failsafe: Final = Failsafe(logging.getLogger("otel_tracker"))
"""The process's one: failures of tracking are facts of the process, not of a provider."""
