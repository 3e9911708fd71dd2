"""A process with all that came of it: its session, and descendants that left the session. Linux, by /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def kill_family(pid: int) -> None:
    """SIGKILL for the session that `pid` leads and for every descendant; those that are gone are no error."""
    strays = descendants(pid)  # before the kill: an orphan's parent is another
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for stray in strays:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(stray, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The ids of its children, theirs, and so on."""
    found, open_pids = [], [pid]
    while open_pids:
        for task in Path(f"/proc/{open_pids.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(child) for child in task.read_text().split()]
                found += children
                open_pids += children
    return found
