"""A lock between processes and threads on one small file: POSIX `lockf`, polled until a deadline.

`lockf` and not `flock`: a forked child keeps a `flock` after its parent died. A process loses its `lockf` when it
closes *any* descriptor of the file, and is never excluded by its own: so one mutex per path and process, shared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otel_tracker.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_shared: dict[str, ProcessMutex] = {}
_shared_lock = threading.Lock()
_POLL_SECONDS = 0.002


class ProcessMutex:
    """Get one by `shared`; give it back by `release_share`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = _open(path)
        self._threads = threading.Lock()
        self.shares = 0

    @classmethod
    def shared(cls, path: str) -> ProcessMutex:
        """The process's one mutex for `path`. Raises `OSError` where the file cannot be made."""
        real = os.path.realpath(path)
        with _shared_lock:
            mutex = _shared.get(real) or _shared.setdefault(real, cls(real))
            mutex.shares += 1
            return mutex

    def release_share(self) -> None:
        """Close the file with the last share; never under a thread that still holds the lock, which keeps it open."""
        with _shared_lock:
            self.shares -= 1
            if self.shares == 0:
                del _shared[self._path]
                if self._threads.acquire(blocking=False):
                    os.close(self._descriptor)

    @contextlib.contextmanager
    def held(self, *, timeout_seconds: float) -> Iterator[None]:
        """Hold it. Raises `StorageUnavailableError` when others hold it for longer than the timeout."""
        deadline = time.monotonic() + timeout_seconds
        if not self._threads.acquire(timeout=timeout_seconds):
            raise StorageUnavailableError(f"another thread kept {self._path} for {timeout_seconds} s: try again")
        try:
            self._lock_file(deadline, timeout_seconds)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _is_in_place(self) -> bool:
        """Not so where somebody deleted the file: other processes then lock the one that was made after it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), Path(self._path).stat())
        except FileNotFoundError:
            return False

    def _open_anew(self) -> None:
        descriptor, self._descriptor = self._descriptor, _open(self._path)
        os.close(descriptor)

    def _lock_file(self, deadline: float, timeout_seconds: float) -> None:
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_in_place():
                    return
                self._open_anew()
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() > deadline:
                    raise StorageUnavailableError(
                        f"another process kept {self._path} for {timeout_seconds} s: try again"
                    ) from error
                time.sleep(_POLL_SECONDS)


def _open(path: str) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
