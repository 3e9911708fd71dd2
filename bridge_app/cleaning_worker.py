"""The cleanup process: one run of the retention, apart from the program that serves.

    python -P -m bridge_app.cleaning_worker        (started by `bridge_app.cleaning`, for it alone)

Why a process: its thousands of small transactions would take turns at the interpreter lock with the server. It does
not step back as the drain does: a process that waits for the processor while it holds the database keeps all writers
waiting (on a busy machine 72 ms more at the longest, against 1 ms). It rests as long as it works instead. It ends after
the batch under way when it is told to by SIGTERM, and when its parent ends; the next run goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any, Final

import msgspec

from bridge_app.cleaning_messages import CleanupOrder, CleanupReport
from exporters.child_process import wait_for_end_of
from otel_tracker.errors import CleanupRunningError, StorageError
from otel_tracker.storage import open_store

_END_SECONDS: Final = 10.0
"""What a batch may still take once the parent has ended."""


def main() -> None:
    """Do what the line on standard input says; say on standard output what came of it."""
    parent = os.getppid()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=_stop_with, args=(parent, stopping), name="parent-watch", daemon=True).start()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the parent ended before it had said what to do
    report = clean(msgspec.json.decode(line, type=CleanupOrder), stopping)
    with contextlib.suppress(OSError):  # nobody is there to hear it
        os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")


def clean(order: CleanupOrder, stopping: threading.Event) -> CleanupReport:
    """One run, until it is done or `stopping` is set."""
    arguments: dict[str, Any] = dict(order.store)
    try:
        with contextlib.closing(open_store(arguments.pop("url"), **arguments)) as store:
            result = store.prune(
                **msgspec.structs.asdict(order.policy), dry_run=order.dry_run, on_batch=lambda _: not stopping.is_set()
            )
            if order.rollups_before is not None and not order.dry_run and not stopping.is_set():
                store.prune_rollups(started_before=order.rollups_before)
    except CleanupRunningError as error:
        return CleanupReport(holder=error.holder, seconds=error.seconds)
    except StorageError as error:
        return CleanupReport(why=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells of it
        return CleanupReport(why=f"{type(error).__name__}: {error}")
    return CleanupReport(result=result)


def _stop_with(parent: int, stopping: threading.Event) -> None:
    wait_for_end_of(parent)
    stopping.set()
    time.sleep(_END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
