"""Accounting: every execution that was opened is stored, spooled, in flight, or dropped for a reason.

In: the counts of the processor, which sees executions open and end, and of the spool's account, which sees their ends
come to rest. Out: `Accounting`, of this process since its start. The sides are counted apart, so that a loss that
nobody noticed would show as a difference. It only reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exporters.account import NOT_OPENED

if TYPE_CHECKING:
    from bridge_app.history import History
    from otel_tracker.processor import ExecutionProcessor

LATELY_SECONDS: Final = 300.0
"""How long after a loss the bridge still calls itself degraded: some rounds of whoever watches it."""


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """Where the executions of this process are: `started` is the sum of the others, but for what moves right now."""

    started: int
    """Opened since the process started; those included that tracking failed to open, and that others sent by OTLP."""
    stored: int
    """Their end was delivered to the store."""
    spooled: int
    """Ended; their end waits for the store, in memory or on disk."""
    in_flight: int
    """Running."""
    dropped: dict[str, int]
    """Their end is nowhere, by reason. Where the store has their start, their record stays `running`."""


class Ledger:
    """Joins what the parts of one bridge have counted."""

    def __init__(self, *, history: History, processor: ExecutionProcessor) -> None:
        self._history = history
        self._processor = processor

    def read(self) -> Accounting:
        """The figures now. An execution that moves while they are read may count twice or not at all."""
        settled = self._history.settled
        return Accounting(
            started=self._processor.started + self._history.spooled.received + settled.dropped.get(NOT_OPENED, 0),
            stored=settled.stored,
            spooled=settled.spooled,
            in_flight=self._processor.running,
            dropped=settled.dropped,
        )

    @property
    def is_losing(self) -> bool:
        """Whether an execution was dropped in the last five minutes."""
        return self._history.spooled.account.has_dropped_within(LATELY_SECONDS)
