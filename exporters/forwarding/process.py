"""The forwarder seen from the program that started it. See `worker_process`, and `worker` for what it does.

In: `ForwardSettings`. Out: a `ForwardReport` whose counts are of this program's life, whichever forwarder counted.
While there is none the history's spool keeps what it has not read, and the destinations' spools what is theirs.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from exporters.forwarding.messages import DestinationReport, ForwardReport
from exporters.worker_process import Kind, WorkerProcess

if TYPE_CHECKING:
    from exporters.forwarding.messages import ForwardSettings

logger = logging.getLogger("exporters.forward")
_KIND: Final = Kind(
    title="forwarder",
    module="exporters.forwarding.worker",
    logger="exporters.forward",
    meanwhile="what is to be forwarded waits on disk",
)
DIED: Final = "the forwarder died and is started again"


class ForwardProcess(WorkerProcess[ForwardReport]):
    """`state` is what is known of all destinations."""

    def __init__(self, settings: ForwardSettings) -> None:
        super().__init__(_KIND, settings, report=ForwardReport, on_report=self._hear, on_death=self._mourn)
        self._lock = threading.Lock()
        self._before = ForwardReport(destinations={one.name: DestinationReport() for one in settings.destinations})
        self._last = ForwardReport(why="the forwarder is starting", destinations=self._before.destinations)

    @property
    def state(self) -> ForwardReport:
        """The newest report, with what earlier forwarders had counted."""
        with self._lock:
            return _added(self._before, self._last)

    def _hear(self, report: ForwardReport) -> None:
        with self._lock:
            before, self._last = self._last, report
        for name, now in report.destinations.items():
            _log(name, before.destinations.get(name, DestinationReport()), now)

    def _mourn(self) -> None:
        with self._lock:
            self._before = _added(self._before, self._last)
            waiting = {name: _without_counts(one) for name, one in self._before.destinations.items()}
            self._last = ForwardReport(why=DIED, destinations=waiting)


def _log(name: str, before: DestinationReport, now: DestinationReport) -> None:
    """What changed, where somebody ought to know; what goes on is not repeated."""
    if now.state == "retrying" and before.state == "ok":
        logger.warning("Spans do not reach %s now, they wait on disk: %s", name, now.last_error)
    elif now.state == "ok" and before.state == "retrying":
        logger.info("Spans reach %s again", name)
    if now.dead_letters and not before.dead_letters:
        logger.warning("%s refused %d spans, they are kept in its folder: %s", name, now.dead_letters, now.last_error)
    for reason in now.dropped.keys() - before.dropped.keys():
        logger.warning("Spans on their way to %s were dropped: %s", name, reason)


def _added(before: ForwardReport, now: ForwardReport) -> ForwardReport:
    """The newer one, with the sums of both."""
    destinations = {}
    for name, old in before.destinations.items():
        new = now.destinations.get(name, DestinationReport())
        reasons = old.dropped.keys() | new.dropped.keys()
        destinations[name] = replace(
            new,
            sent=old.sent + new.sent,
            rejected=old.rejected + new.rejected,
            dead_letters=old.dead_letters + new.dead_letters,
            dropped={reason: old.dropped.get(reason, 0) + new.dropped.get(reason, 0) for reason in sorted(reasons)},
        )
    return replace(now, unreadable=before.unreadable + now.unreadable, destinations=destinations)


def _without_counts(report: DestinationReport) -> DestinationReport:
    return replace(report, sent=0, rejected=0, dead_letters=0, dropped={})
