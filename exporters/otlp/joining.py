"""To which execution a span of another program belongs; and those that wait for theirs.

In: the spans of one request. Out: those whose execution is known, by (in this order) what they say themselves, an
ancestor in the same request, an execution of the same trace that came before, one that `find` knows of the trace. A
batch is sent as its spans end, so a child mostly comes before its execution: what belongs to none so far is held for a
while, bounded in number and age, and then given up and counted. In memory only: it is lost with the process.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporters.otlp.incoming import Sent

_MAX_TRACES: Final = 10_000
_MAX_ANCESTORS: Final = 256
MAX_HELD_BYTES: Final = 64 << 20
"""Of the spans that wait, whatever their number."""


class _Held(NamedTuple):
    since: float
    spans: list[Sent]


class Joined(NamedTuple):
    """What became of a request's spans."""

    rows: list[Sent]
    """Executions and children of known ones, those that had waited for them included."""
    held: int
    """How many wait."""
    refused: int
    """How many found no room to wait."""


class Joiner:
    """For one thread. `find` gives execution ids by trace id, for traces that began elsewhere than here."""

    def __init__(
        self,
        find: Callable[[frozenset[str]], Mapping[str, str]],
        *,
        max_held: int,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._max_held = max_held
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._of_trace: OrderedDict[str, str] = OrderedDict()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self.holding = 0
        """Spans that wait for their execution."""
        self._held_bytes = 0
        self.given_up = 0
        """Spans whose execution did not come in time."""

    def join(self, spans: Sequence[Sent]) -> Joined:
        """Find everybody's execution."""
        self.expire()
        rows = [span for span in spans if span.execution_id or span.parent_id]
        others = [span for span in spans if not (span.execution_id or span.parent_id)]
        of_span = {(span.trace_id, span.span_id): span.execution_id or span.parent_id for span in rows}
        for span in sorted(rows, key=lambda span: not span.execution_id):  # executions first
            self._know(span.trace_id, span.execution_id or span.parent_id)
        parents = {(span.trace_id, span.span_id): span.parent_span_id for span in others}
        alone = []
        for span in others:
            execution_id = _of_ancestor(span, of_span, parents) or self._of_trace.get(span.trace_id, "")
            if execution_id:
                span.join(execution_id)
                rows.append(span)
            else:
                alone.append(span)
        rows += self._found(alone)
        waiting = [span for span in alone if not span.parent_id]
        rows += self._released({span.trace_id for span in rows})
        refused = self._hold(waiting)
        return Joined(rows, len(waiting) - refused, refused)

    def expire(self) -> None:
        """Give up what has waited too long."""
        limit = self._clock() - self._hold_seconds
        while self._held and (first := next(iter(self._held.values()))).since <= limit:
            self._held.popitem(last=False)
            self._leave(first.spans)
            self.given_up += len(first.spans)

    def _know(self, trace_id: str, execution_id: str) -> None:
        self._of_trace.setdefault(trace_id, execution_id)  # of several in a trace the first one counts
        while len(self._of_trace) > _MAX_TRACES:
            self._of_trace.popitem(last=False)

    def _found(self, alone: Sequence[Sent]) -> list[Sent]:
        wanted = frozenset(span.trace_id for span in alone)
        known = self._find(wanted) if wanted else {}
        rows = []
        for span in alone:
            execution_id = known.get(span.trace_id, "")
            if execution_id:
                self._know(span.trace_id, execution_id)
                span.join(execution_id)
                rows.append(span)
        return rows

    def _released(self, trace_ids: set[str]) -> list[Sent]:
        rows: list[Sent] = []
        for trace_id in self._held.keys() & trace_ids:
            execution_id = self._of_trace.get(trace_id)
            if execution_id:
                for span in self._held.pop(trace_id).spans:
                    span.join(execution_id)
                    rows.append(span)
        self._leave(rows)
        return rows

    def _leave(self, spans: Sequence[Sent]) -> None:
        self.holding -= len(spans)
        self._held_bytes -= sum(span.size for span in spans)

    def _hold(self, spans: Sequence[Sent]) -> int:
        """Let them wait; gives how many could not."""
        now, refused = self._clock(), 0
        for span in spans:
            if self.holding >= self._max_held or self._held_bytes + span.size > MAX_HELD_BYTES:
                refused += 1
                continue
            self._held.setdefault(span.trace_id, _Held(now, [])).spans.append(span)
            self.holding += 1
            self._held_bytes += span.size
        return refused


def _of_ancestor(span: Sent, of_span: Mapping[tuple[str, str], str], parents: Mapping[tuple[str, str], str]) -> str:
    """The execution of the nearest span above that has one; loops in what was sent end after so many steps."""
    above = span.parent_span_id
    for _ in range(_MAX_ANCESTORS):
        if not above:
            break
        if found := of_span.get((span.trace_id, above)):
            return found
        above = parents.get((span.trace_id, above), "")
    return ""
