"""RareLog: warnings of one subject, of whatever kind, at most one a minute; the counters tell the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

_LOG_EVERY_SECONDS: Final = 60.0


class RareLog:
    """Shared by all who warn of the same `subject`, such as `Spool one`."""

    def __init__(self, logger: logging.Logger, subject: str) -> None:
        self._logger = logger
        self._subject = subject
        self._logged_at = float("-inf")

    def note(self, what: str, error: BaseException) -> None:
        """Log it, unless something was logged within the last minute."""
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            self._logger.warning("%s: %s: %s", self._subject, what, error)
