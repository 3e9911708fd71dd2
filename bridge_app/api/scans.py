"""Scans: exports and searches, of which only so many go on at a time, so that they cannot crowd out the webhooks.

Each reads and converts records for seconds or minutes in a thread, which takes turns with the one that serves: some
dozens at once were a way to stop the webhooks. Whoever comes when all turns are taken is told to come again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from bridge_app.api.streaming import ByteStream
from bridge_app.problems import TooManyRequestsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Response


class Scans:
    """At most `most` at a time; from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.BoundedSemaphore(most)

    def during(self, respond: Callable[[], Response[Any]]) -> Response[Any]:
        """What `respond` gives, while a turn is held: to the end of its body, where that is made while it is sent.

        Raises `TooManyRequestsError` where no turn is free.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyRequestsError(
                f"{self._most} exports and searches are under way, which is as many as server.max_scans allows: "
                "try again when one of them is done",
            )
        is_streaming = False
        try:
            response = respond()
            if isinstance(response, ByteStream):
                response.on_end(self._free.release)
                is_streaming = True
            return response
        finally:
            if not is_streaming:
                self._free.release()
