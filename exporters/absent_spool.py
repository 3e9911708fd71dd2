"""A spool that has no place yet: stands in for the real one, takes nothing, and counts what it did not take.

Where the folder of the spool cannot be made, the program goes on as if nothing had happened; its answers say that
nothing was kept. Same methods as `Spool`; never touches a disk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from exporters.spool_directory import Depth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REASON: Final = "no_spool"


class AbsentSpool:
    """What an exporter has while there is no spool."""

    written = synced = delivered = corrupt_frames = unfollowed = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused = 0

    def append(self, frame: bytes, on_refusal: Callable[[str], object] | None = None) -> int | None:  # noqa: ARG002 - the signature is Spool's
        """Refuse."""
        with self._lock:
            self._refused += 1
        if on_refusal is not None:
            on_refusal(_REASON)
        return None

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many frames were refused."""
        return {_REASON: self._refused} if self._refused else {}

    @property
    def depth(self) -> Depth:
        """Nothing."""
        return Depth(0, 0, 0.0)

    def relieve(self) -> None:
        """Nothing waits."""

    def mark_alive(self) -> None:
        """Nowhere to leave a sign."""

    def on_progress(self, callback: Callable[[int], None]) -> None:
        """There is none."""

    def wait(self, seq: int, *, timeout_seconds: float) -> bool:  # noqa: ARG002 - the signature is Spool's
        """Nothing is ever written."""
        return False

    def flush(self, *, timeout_seconds: float) -> bool:  # noqa: ARG002 - the signature is Spool's
        """There is nothing to write."""
        return True

    def close(self, *, timeout_seconds: float, remove_if_empty: bool = False) -> None:
        """There is nothing to give up."""
