"""The dead/ directory: frames a destination refuses, kept raw for a person to look at and to have tried again.

In: a frame and the reason. Out: one file per frame, named by time and reason. Bounded in bytes; burying never raises,
and what does not fit is counted. Anybody may read the files, and delete them one by one.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path  # noqa: TC003 - a field of a NamedTuple, which some read at run time
from typing import TYPE_CHECKING, NamedTuple

from exporters.segments import FILE_MODE, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEAD_BYTES = 64 << 20
_DISK_BLOCK_BYTES = 4096  # what even an empty file is charged, so that the bound holds for inodes too


class DeadFrame(NamedTuple):
    """One that was refused."""

    path: Path
    refused_at: int
    """Nanoseconds since the epoch."""
    reason: str
    """In short, of letters, digits and _."""

    @property
    def instance_id(self) -> str:
        """Whose spool it was in."""
        return self.path.parent.parent.name

    def forget(self) -> None:
        """Delete it, and with the last one the folder of a process that left nothing else. Raises OSError."""
        self.path.unlink(missing_ok=True)
        dead = self.path.parent
        if not (dead.parent / "lock").exists():  # else it has an owner, or who adopts it cleans up
            with contextlib.suppress(OSError):
                dead.rmdir()
                dead.parent.rmdir()


def dead_frames(root: Path) -> list[DeadFrame]:
    """Those of every spool below `root`, oldest first."""
    found = []
    for path in root.glob("*/dead/*.frame"):
        refused_at, _, rest = path.stem.partition("-")
        if refused_at.isdecimal():
            found.append(DeadFrame(path, int(refused_at), rest.partition("-")[2]))
    return sorted(found, key=lambda one: one.refused_at)


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
                self._bytes = _bytes_in(self._path)  # somebody may have made room
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
