"""Which executions ended since the last look: the history followed by time and by what was running, never re-read.

Records reach a store in about the order in which executions start: a start is written once it is 100 ms old, an end
when it comes. So a look reads what started since a little before the newest one known, and asks for those that ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from otel_tracker.query import ExecutionFilter, PageRequest
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage.search import is_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.ports import RecordReader

_OPEN: Final = (Status.PENDING, Status.RUNNING)
_PAGE: Final = 500
_SLACK_NANOSECONDS: Final = 5_000_000_000
"""How much later than a younger one an execution may arrive: another bridge's spool, a crowded disk."""


class Follower:
    """Gives each execution that ends after its construction once. Reads only."""

    def __init__(self, reader: RecordReader, chosen: ExecutionFilter, *, now: int, with_payloads: bool) -> None:
        self._reader = reader
        self._chosen = chosen
        # An execution that runs has another status yet, and no duration, output or error: its end is asked for these.
        self._filter = msgspec.structs.replace(
            chosen, statuses=(), error_types=(), min_duration=None, max_duration=None, text=""
        )
        self._with_payloads = with_payloads or bool(chosen.text)
        self._horizon = now - _SLACK_NANOSECONDS
        self._newest = now
        self._given: dict[str, int] = {}
        self._open: set[str] = set()
        self.look()

    def look(self) -> list[ExecutionRecord]:
        """What ended since the last look, in the order of the ends."""
        still_open = {record.id for record in self._pages(statuses=_OPEN)}
        ended = [record for record in map(self._reader.get, self._open - still_open) if record is not None]
        for record in self._pages(started_from=self._horizon):
            self._newest = max(self._newest, record.start_time)
            if record.status.is_final:
                ended.append(record)
            else:
                still_open.add(record.id)
        fresh = {record.id: record for record in ended if record.id not in self._given and record.status.is_final}
        self._open = still_open
        self._horizon = max(self._horizon, self._newest - _SLACK_NANOSECONDS)
        self._given |= {record.id: record.start_time for record in fresh.values()}
        self._given = {name: start for name, start in self._given.items() if start >= self._horizon}
        return sorted(filter(self._is_wanted, fresh.values()), key=lambda record: (record.end_time or 0, record.id))

    def _pages(self, **changes: Any) -> Iterator[ExecutionRecord]:
        chosen = msgspec.structs.replace(self._filter, **changes)
        request = PageRequest(
            filter=chosen, limit=_PAGE, with_total=False, with_payloads=self._with_payloads and not chosen.statuses
        )
        while True:
            page = self._reader.page(request)
            yield from page.executions
            if not page.next_cursor:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def _is_wanted(self, record: ExecutionRecord) -> bool:
        chosen = self._chosen
        return (
            (not chosen.statuses or record.status in chosen.statuses)
            and (not chosen.error_types or record.error_type in chosen.error_types)
            and _took_as_long(record, at_least=chosen.min_duration, at_most=chosen.max_duration)
            and (not chosen.text or is_in(chosen.text, (record.input, record.output, record.error)))
        )


def _took_as_long(record: ExecutionRecord, *, at_least: int | None, at_most: int | None) -> bool:
    """In nanoseconds. Where nobody knows when it ended it fits no bound."""
    if at_least is None and at_most is None:
        return True
    return (
        record.end_time is not None
        and (at_least is None or record.duration >= at_least)
        and (at_most is None or record.duration <= at_most)
    )
