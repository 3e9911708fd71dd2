"""The dead/ directory: frames the store refuses, kept raw for a person to look at.

In: a frame and the reason. Out: one file per frame, named by time and reason. Bounded in bytes; never raises, and what
does not fit is counted.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

from exporters.segments import FILE_MODE, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_DEAD_BYTES = 64 << 20
_DISK_BLOCK_BYTES = 4096  # what even an empty file is charged, so that the bound holds for inodes too


class DeadFrames:
    """One spool's refused frames."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_DEAD_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = _bytes_in(path)
        self._kept: dict[str, int] = {}
        self._lost: dict[str, int] = {}

    @property
    def kept(self) -> Mapping[str, int]:
        """Frames kept by this process, by reason."""
        with self._lock:
            return dict(self._kept)

    @property
    def lost(self) -> Mapping[str, int]:
        """Frames that could not be kept, by why: `dead_full` or `dead_io_error`."""
        with self._lock:
            return dict(self._lost)

    def bury(self, frame: bytes, *, reason: str) -> None:
        """Keep `frame` as a file of its own; what cannot be kept is counted in `lost`."""
        charge = max(len(frame), _DISK_BLOCK_BYTES)
        with self._lock:
            if self._bytes + charge > self._max_bytes:
                _count(self._lost, "dead_full")
                return
            try:
                _write(self._path, frame, reason=reason)
            except OSError:
                _count(self._lost, "dead_io_error")
                return
            self._bytes += charge
            _count(self._kept, reason)


def _write(directory: Path, frame: bytes, *, reason: str) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    name = re.sub(r"[^a-z0-9_]+", "_", reason.lower())[:40]
    path = directory / f"{time.time_ns()}-{os.urandom(4).hex()}-{name}.frame"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        write_all(descriptor, frame)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _bytes_in(directory: Path) -> int:
    if not directory.is_dir():
        return 0
    with os.scandir(directory) as entries:
        return sum(max(entry.stat().st_size, _DISK_BLOCK_BYTES) for entry in entries)


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1
