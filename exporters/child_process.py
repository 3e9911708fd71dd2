"""What a process of ours that works beside the one that serves does of itself: step back, and end with its parent."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

_NICE: Final = 5
_LOOK_SECONDS: Final = 1.0


def step_back() -> None:
    """Let the process that serves go first, where both want the processor: it has somebody waiting.

    Linux shares its processors out by session first (sched(7), autogroups), and a nice value counts within one only.
    At 5 it still gets a quarter of a processor that is wanted without end, which is more than it needs.
    """
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # a kernel without autogroups, or /proc read-only
        Path("/proc/self/autogroup").write_text(str(_NICE), encoding="ascii")


def wait_for_end_of(parent: int) -> None:
    """Return when that process, which started this one, has ended.

    Where a forked child of the parent holds a pipe open, the pipe does not tell of it.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)


def end_with(parent: int) -> None:
    """End this process when that one, which started it, has ended."""
    wait_for_end_of(parent)
    os._exit(0)
