"""Lane: an event loop does the spool writer's work, with an appender process to write and sync. Its thread never waits.

In: a spool that lends its queue, a group at a time. Out: groups repaid when they are synced, or taken back: then the
spool's own writer does them, as it does whatever is not everyday work (a new segment, a large group, a bad disk).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from exporters.appender import MAX_BYTES, Appender
from exporters.segments import encode
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    import asyncio

    from exporters.loans import Lends, Loan


logger = logging.getLogger("exporters.lane")
_STUCK_SECONDS: Final = 1.0


class _Under(NamedTuple):
    number: int
    loan: Loan


class Lane:
    """For one spool and one event loop, whose thread is `thread`; has an appender from `keep` to `close`."""

    def __init__(self, spool: Lends, *, sync: bool, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self.restarts = -1
        self._spool = spool
        self._sync = sync
        self._loop = loop
        self._thread = thread
        self._appender: Appender | None = None
        self._coming: Appender | None = None
        """Started, and not taken by the loop yet."""
        self._under: _Under | None = None
        self._is_asked = False
        self._asked_at = 0.0
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The appender's process id, while there is one."""
        appender = self._appender
        return appender.pid if appender else None

    # --- any thread

    def ask(self) -> bool:
        """Have the queue looked at, soon; False where the writer must do it."""
        if self._is_asked:
            return True
        if self._appender is None or self._is_closed:
            return False
        self._is_asked, self._asked_at = True, time.monotonic()
        try:
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._push)
            else:
                self._loop.call_soon_threadsafe(self._push)
        except RuntimeError:  # the loop is closed
            self._is_closed, self._is_asked = True, False
            return False
        return True

    def keep(self) -> None:
        """Start an appender if there is none; to be called again and again. OSError where that fails."""
        if self._is_asked and time.monotonic() - self._asked_at > _STUCK_SECONDS:
            self._is_asked = False  # the loop is held up, or a callback failed
            self._spool.recall()
        if self._appender is None and self._coming is None and not self._is_closed:
            appender = self._coming = Appender(sync=self._sync)
            self.restarts += 1
            try:
                self._loop.call_soon_threadsafe(self._use)
            except RuntimeError:  # the loop is closed
                appender.close()

    def close(self) -> None:
        """End the appender; what it has not done by now is taken back."""
        self._is_closed = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._lose)

    # --- the loop's thread

    def _use(self) -> None:
        coming, self._coming = self._coming, None
        if coming is None:
            return
        if self._is_closed:
            coming.close()
        else:
            self._appender = coming
            self._loop.add_reader(coming.fileno(), self._on_readable)

    def _push(self) -> None:
        self._is_asked = False
        try:
            self._send()
        except OSError:
            self._lose()
        except BaseException as error:  # noqa: BLE001 - a callback of the event loop: a SystemExit here would stop it
            failsafe.caught("lane.push", error)
            self._lose()

    def _send(self) -> None:
        loan = self._spool.lend(max_bytes=MAX_BYTES if self._appender else 0)
        if loan is None:
            return
        try:
            assert self._appender is not None  # noqa: S101 - narrows a type; nothing is lent for 0 bytes
            self._under = _Under(self._appender.send(loan.descriptor, loan.path, encode(loan.frames)), loan)
            loan.wrote = self._wrote
        except BaseException:
            self._spool.take_back(loan, is_written=False)
            raise

    def _wrote(self) -> bool:
        appender, under = self._appender, self._under
        return appender is not None and under is not None and appender.wrote(under.number)

    def _on_readable(self) -> None:
        try:
            self._receive()
        except BlockingIOError:
            return
        except BaseException as error:  # noqa: BLE001 - a callback of the event loop: a SystemExit here would stop it
            failsafe.caught("lane.receive", error)
            self._lose()

    def _receive(self) -> None:
        reply = self._appender.receive() if self._appender else None
        if reply is None:
            self._lose()
            return
        under = self._under
        if under is not None and under.number == reply[0]:
            if reply[1]:
                self._spool.take_back(under.loan, is_written=False)
            else:
                self._spool.repay(under.loan)
            self._under = None

    def _lose(self) -> None:
        """The appender is of no use any more."""
        appender, self._appender = self._appender, None
        if not self._is_closed:
            logger.warning("The appender process ended; until there is a new one the spool's own writer does its work")
        under, self._under = self._under, None
        is_written = appender is not None and under is not None and appender.wrote(under.number)
        if appender is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._loop.remove_reader(appender.fileno())
            appender.close()
        if under is not None:
            self._spool.take_back(under.loan, is_written=is_written)
