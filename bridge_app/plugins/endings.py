"""How a worker process ended, in words for the record of the execution that it was running. Pure."""

from __future__ import annotations

import signal


def ending(status: int) -> str:
    """Of the exit status as `subprocess` tells it: below 0 it is the negative number of a signal."""
    if status >= 0:
        return f"the plugin ended its worker process with exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (by the system when memory runs out, or by somebody)" if status == -signal.SIGKILL else ""
    return f"the worker process died of {name}{hint}"
