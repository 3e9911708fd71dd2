"""Deadlines: breaks the connection to a database that does not answer in time.

A server that is frozen, or a network that swallows packets, blocks a driver for ever: its kernel still acknowledges, so
neither keepalive nor TCP timeouts help, and a statement timeout is kept by the server, which is asleep. One thread
watches all connections; past its deadline a socket is shut down, and whoever waits on it gets the driver's error.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_EVERY_SECONDS: Final = 0.1


class Deadlines:
    """Watches from the first `within` on; its thread sleeps while nothing is watched. Thread-safe."""

    def __init__(self) -> None:
        self._watched: dict[object, tuple[float, Callable[[], int]]] = {}
        self._has_watched = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def within(self, key: object, seconds: float, *, descriptor: Callable[[], int]) -> Iterator[None]:
        """Shut down the socket that `descriptor` tells, unless this block ends, or is `renewed`, in time."""
        self._watch(key, seconds, descriptor)
        try:
            yield
        finally:
            self._watched.pop(key, None)

    def renew(self, key: object, seconds: float) -> None:
        """So many seconds from now, where `key` is watched at all."""
        watched = self._watched.get(key)
        if watched is not None:
            self._watched[key] = (time.monotonic() + seconds, watched[1])

    def _watch(self, key: object, seconds: float, descriptor: Callable[[], int]) -> None:
        self._watched[key] = (time.monotonic() + seconds, descriptor)
        if not self._has_watched.is_set():
            self._has_watched.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="storage-deadlines", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._has_watched.wait()
            time.sleep(_LOOK_EVERY_SECONDS)
            now = time.monotonic()
            for key, (deadline, descriptor) in list(self._watched.items()):
                if deadline <= now and self._watched.pop(key, None) is not None:
                    _shut_down(descriptor)
            if not self._watched:
                self._has_watched.clear()
                if self._watched:  # one came between the two
                    self._has_watched.set()


def _shut_down(descriptor: Callable[[], int]) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or never was open
        connection = socket.socket(fileno=os.dup(descriptor()))
        try:
            connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.close()
