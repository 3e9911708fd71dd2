"""The life of a process of ours beside the one that serves: it steps back, hears its parent, and ends with it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

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


def serve_parent(begin: Callable[[bytes], Callable[[bytes], object]]) -> None:
    """The life of such a process: `begin` with the first line of standard input, its answer with the last, then end.

    It also ends, without more ado, where the parent does, or closes the pipe.
    """
    parent = os.getppid()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the parent ended before it had said what to do
    finish = begin(line)
    threading.Thread(target=end_with, args=(parent,), name="parent-watch", daemon=True).start()
    line = sys.stdin.buffer.readline()
    if line:
        finish(line)
    os._exit(0)  # threads may be stuck in a server that does not answer; nothing here needs their farewell


def write_line(report: object) -> None:
    """Tell the parent, as a line of JSON on standard output; where nobody listens any more, end."""
    try:
        os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")
    except OSError:
        os._exit(0)


def end_with(parent: int) -> None:
    """End this process when that one, which started it, has ended."""
    wait_for_end_of(parent)
    os._exit(0)
