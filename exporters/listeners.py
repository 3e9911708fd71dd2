"""Listeners: who wants to hear how far a spool's frames are settled. None of them can stop who tells."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.rare_log import RareLog


class Listeners:
    """Called in the order they came, by whoever settles."""

    def __init__(self, log: RareLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._callbacks: tuple[Callable[[int], None], ...] = ()

    def add(self, callback: Callable[[int], None]) -> None:
        """Have `callback(settled)` called from now on; from any thread."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def tell(self, settled: int) -> None:
        """Call them all; what one raises is logged."""
        for callback in self._callbacks:
            try:
                callback(settled)
            except BaseException as error:  # noqa: BLE001 - a listener's defect must not stop the writer
                self._log.note("a progress callback failed", error)
