"""A drain process seen from the program that started it: start it, hear its reports, replace it when it dies.

In: `DrainSettings`. Out: the newest `DrainReport`. While the process is down the spool keeps the records, and a new one
is started; what it was doing is done again, which is harmless. See `drain_worker` for what it does.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from exporters.backoff import delay_seconds
from exporters.drain_messages import DrainFinish, DrainReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.drain_messages import DrainSettings

logger = logging.getLogger("exporters.drain")
_STOP_SLACK_SECONDS: Final = 1.0


class DrainProcess:
    """At most one process at a time, from `start` to `stop`."""

    def __init__(self, settings: DrainSettings, *, on_report: Callable[[DrainReport], object]) -> None:
        self.restarts = 0
        self._settings = settings
        self._on_report = on_report
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="drain-process", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start it, in the background."""
        self._keeper.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Let it deliver what the spool holds for so long, then end it. What is left stays in the spool."""
        if self._keeper.is_alive():
            self._begun.wait(_STOP_SLACK_SECONDS)
        self._stopping.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):  # it is gone already
                process.stdin.write(msgspec.json.encode(DrainFinish(timeout_seconds=timeout_seconds)) + b"\n")
                process.stdin.flush()
            try:
                process.wait(timeout_seconds + _STOP_SLACK_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._keeper.is_alive():
            self._keeper.join(_STOP_SLACK_SECONDS)

    def _keep(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                heard = self._serve()
            except OSError as error:
                heard = False
                logger.warning("The drain process cannot be started, the spool keeps the records: %s", error)
            if self._stopping.is_set():
                return
            attempt = 1 if heard else attempt + 1
            self.restarts += 1
            self._on_report(DrainReport(why="the drain process died and is started again"))
            self._stopping.wait(delay_seconds(attempt, base=0.2, cap=5.0, jitter=0.5))

    def _serve(self) -> bool:
        """One process, from its start to its end; whether it reported anything."""
        # -P: a folder or file of the user's that happens to be named like a module of ours must not be run.
        command = [sys.executable, "-P", "-m", "exporters.drain_worker"]
        heard = False
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:  # noqa: S603 - our own module
            self._process = process
            assert process.stdin is not None  # noqa: S101 - narrows a type; cannot be false
            assert process.stdout is not None  # noqa: S101 - narrows a type; cannot be false
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
                process.stdin.flush()
            self._begun.set()
            for line in process.stdout:
                if not line.endswith(b"\n"):
                    break  # it died at it
                heard = True
                self._on_report(msgspec.json.decode(line, type=DrainReport))
        if not self._stopping.is_set():
            logger.warning("The drain process ended (exit status %s); it is started again", process.returncode)
        return heard
