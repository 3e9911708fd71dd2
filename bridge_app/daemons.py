"""Background work: every(interval, act) in a thread, with jitter, surviving its failures and telling of them."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("bridge_app.daemons")


class Daemon:
    """Calls `act` every `interval_seconds`, up to a tenth later so that many bridges do not act at once."""

    def __init__(
        self, name: str, *, interval_seconds: float, act: Callable[[], object], waits_first: bool = True
    ) -> None:
        self.name = name
        self.runs = 0
        self.failures = 0
        self.last_error = ""
        self.last_run: float | None = None
        self._interval = interval_seconds
        self._first = min(60.0, interval_seconds) if waits_first else 0.0
        self._act = act
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first run comes after one interval, at most a minute, or at once (`waits_first=False`)."""
        self._thread.start()

    def stop(self) -> None:
        """Do not begin another run; a run under way is left to end by itself."""
        self._stopping.set()

    def _run(self) -> None:
        wait = self._first
        while not self._stopping.wait(wait * (1 + random.random() / 10)):  # noqa: S311 - jitter, not a secret
            wait = self._interval
            try:
                self._act()
                self.last_error = ""
            except BaseException as error:  # noqa: BLE001 - the next run may succeed
                self.failures += 1
                self.last_error = f"{type(error).__name__}: {error}"
                logger.warning("%s failed and will run again: %s", self.name, self.last_error)
            self.runs += 1
            self.last_run = time.time()
