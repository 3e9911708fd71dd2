"""A process of ours seen from the program that started it: start it, hear its reports, replace it when it dies.

In: settings, one JSON line to its standard input. Out: its reports, a JSON line each. While it is down files keep what
it is to do, and a new one is started; what it was doing is done again, which must be harmless.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from exporters.backoff import delay_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_STOP_SLACK_SECONDS: Final = 1.0
_Report = TypeVar("_Report", bound=msgspec.Struct)


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The last line that such a process reads: do what there is to do for so long, and end."""

    timeout_seconds: float


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Which process it is."""

    title: str
    """As in "The … ended"."""
    module: str
    logger: str
    meanwhile: str
    """Who keeps what, while it is down; as in "it cannot be started, …"."""


class WorkerProcess(Generic[_Report]):
    """At most one process at a time, from `start` to `stop`."""

    def __init__(
        self,
        kind: Kind,
        settings: msgspec.Struct,
        *,
        report: type[_Report],
        on_report: Callable[[_Report], object],
        on_death: Callable[[], object],
    ) -> None:
        self.restarts = 0
        self._kind = kind
        self._settings = settings
        self._report = report
        self._on_report = on_report
        self._on_death = on_death
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=kind.title.replace(" ", "-"), daemon=True)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start it, in the background."""
        self._keeper.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Let it do what there is to do for so long, then end it. What is left stays where it is."""
        self.begin_stop(timeout_seconds=timeout_seconds)
        self.end_stop(timeout_seconds=timeout_seconds)

    def begin_stop(self, *, timeout_seconds: float) -> None:
        """The first half of `stop`: it is told."""
        if self._keeper.is_alive():
            self._begun.wait(_STOP_SLACK_SECONDS)
        self._stopping.set()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):  # it is gone already
                process.stdin.write(msgspec.json.encode(Finish(timeout_seconds=timeout_seconds)) + b"\n")
                process.stdin.flush()

    def end_stop(self, *, timeout_seconds: float) -> None:
        """The second: it is waited for."""
        process = self._process
        if process is not None:
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
                kind = self._kind
                logging.getLogger(kind.logger).warning(
                    "The %s cannot be started, %s: %s", kind.title, kind.meanwhile, error
                )
            if self._stopping.is_set():
                return
            attempt = 1 if heard else attempt + 1
            self.restarts += 1
            self._on_death()
            self._stopping.wait(delay_seconds(attempt, base=0.2, cap=5.0, jitter=0.5))

    def _serve(self) -> bool:
        """One process, from its start to its end; whether it reported anything."""
        # -P: a folder or file of the user's that happens to be named like a module of ours must not be run.
        command = [sys.executable, "-P", "-m", self._kind.module]
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
                self._on_report(msgspec.json.decode(line, type=self._report))
        if not self._stopping.is_set():
            logging.getLogger(self._kind.logger).warning(
                "The %s ended (exit status %s); it is started again", self._kind.title, process.returncode
            )
        return heard
