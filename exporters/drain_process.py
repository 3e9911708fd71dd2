"""The drain process seen from the program that started it. See `worker_process`, and `drain_worker` for what it does.

While it is down the spool keeps the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporters.drain_messages import DrainReport
from exporters.worker_process import Kind, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.drain_messages import DrainSettings

_KIND: Final = Kind(
    title="drain process",
    module="exporters.drain_worker",
    logger="exporters.drain",
    meanwhile="the spool keeps the records",
)


class DrainProcess(WorkerProcess[DrainReport]):
    """In: `DrainSettings`. Out: the newest `DrainReport`."""

    def __init__(self, settings: DrainSettings, *, on_report: Callable[[DrainReport], object]) -> None:
        super().__init__(
            _KIND,
            settings,
            report=DrainReport,
            on_report=on_report,
            on_death=lambda: on_report(DrainReport(why="the drain process died and is started again")),
        )
