"""What of the history each destination gets: filters, sampling, and whole traces. Pure: no I/O, `now` is an argument.

In: rows in the order of the spool. Out: rows with the set of destinations that want them, as bits of an integer.

A destination with a filter or a ratio decides by the execution, and that is known at its end; but the spans inside it
come before. They are held until then, and share what is decided. What is held is bounded in number and time, and is
given to nobody when it exceeds that. A destination that wants all gets them at once.

Failures always pass the sampling, and so do the slowest: those that took longer than 99 of 100 of the last 512
executions of their plugin. Other successes pass by their trace id, as OpenTelemetry's TraceIdRatioBased decides, so
that a trace is kept whole, here and by everybody with the same ratio. What the caller did not sample (the traceparent's
flag) is sent only where it failed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from otel_tracker import span_facts
from otel_tracker.record import ExecutionRecord, Rank, Row, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_HELD: Final = 10_000
"""Spans, and running executions, each."""
MAX_HELD_BYTES: Final = 32 << 20
HELD_SECONDS: Final = 900.0
INTERRUPTED_TYPE: Final = "interrupted"
INTERRUPTED_TEXT: Final = "The process that ran this execution ended before it did."
_WINDOW: Final = 512
_SLOWEST_SHARE: Final = 0.01
_ENOUGH: Final = 100
_MAX_PLUGINS: Final = 1000
_HALF_TRACE_ID: Final = 1 << 64


class Rule(NamedTuple):
    """What one destination wants."""

    plugins: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    ratio: float = 1.0

    @property
    def wants_all(self) -> bool:
        """Whether it decides nothing by the execution."""
        return not self.plugins and not self.statuses and self.ratio >= 1


class Slowest:
    """Which executions are among the slowest of their plugin."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, tuple[deque[int], list[int]]] = OrderedDict()

    def is_slow(self, plugin: str, duration: int) -> bool:
        """Whether hardly any of the last ones took as long; it counts among them from now on.

        >>> slowest = Slowest()
        >>> [slowest.is_slow("p", 10) for _ in range(100)] == [False] * 100
        True
        >>> slowest.is_slow("p", 11)
        True
        """
        recent, ordered = self._recent.setdefault(plugin, (deque(), []))
        self._recent.move_to_end(plugin)
        if len(self._recent) > _MAX_PLUGINS:
            self._recent.popitem(last=False)
        slower = len(ordered) - bisect_left(ordered, duration)
        is_slow = len(ordered) >= _ENOUGH and slower < len(ordered) * _SLOWEST_SHARE
        if len(recent) == _WINDOW:
            del ordered[bisect_left(ordered, recent.popleft())]
        recent.append(duration)
        insort(ordered, duration)
        return is_slow


def passes_ratio(trace_id: str, ratio: float) -> bool:
    """As TraceIdRatioBased: the lower 64 bits of the id are below that share of all.

    >>> passes_ratio("0" * 31 + "1", 0.5), passes_ratio("f" * 32, 0.5), passes_ratio("f" * 32, 1.0)
    (True, False, True)
    """
    try:
        return int(trace_id[16:], 16) < round(ratio * _HALF_TRACE_ID)
    except ValueError:
        return ratio >= 1


class Decisions(NamedTuple):
    """What became of a row."""

    row: Row
    wanted_by: int
    """Bit n: destination n."""


class Selector:
    """The rules of all destinations, and what is not decided yet, of one spool."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.undecided = 0
        """Spans that were given to nobody because their execution's end did not come."""
        self.has_changed = False
        """Whether what is held is not what it was; for who keeps it on disk."""
        self._rules = tuple(rules)
        self._all = (1 << len(rules)) - 1
        self._at_once = sum(1 << number for number, rule in enumerate(rules) if rule.wants_all)
        self._samples = any(rule.ratio < 1 for rule in rules)
        self._slowest = Slowest()
        self._held: OrderedDict[str, tuple[float, list[SpanRecord], int]] = OrderedDict()
        self._held_spans = self._held_bytes = 0
        self._running: OrderedDict[str, ExecutionRecord] = OrderedDict()
        self._decided: OrderedDict[str, int] = OrderedDict()

    def offer(self, row: Row, *, now: float) -> Iterator[Decisions]:
        """The row, and others that wait for it, as far as something wants them."""
        if isinstance(row, SpanRecord):
            yield from self._child(row, now=now)
        elif row.status.is_final:
            yield from self._ended(row)
        else:
            self._begin(row)

    def expire(self, *, now: float) -> None:
        """Give up what is held for too long, or is too much."""
        while self._held:
            since, _, _ = next(iter(self._held.values()))
            is_fine = self._held_spans <= MAX_HELD and self._held_bytes <= MAX_HELD_BYTES
            if is_fine and now - since <= HELD_SECONDS:
                return
            _, (_, spans, size) = self._held.popitem(last=False)
            self._release(spans, size)
            self.undecided += len(spans)

    def interrupt(self, *, now_ns: int) -> Iterator[Decisions]:
        """The process died at `now_ns`, and its spool is read to its end: what still runs ended as interrupted."""
        for record in list(self._running.values()):
            end = max(now_ns, record.start_time)
            yield from self._ended(
                replace(
                    record,
                    status=Status.FAILED,
                    rank=Rank.INTERRUPTED,
                    error_type=INTERRUPTED_TYPE,
                    error=INTERRUPTED_TEXT,
                    end_time=end,
                    duration=end - record.start_time,
                )
            )

    def hold(self, row: Row, *, now: float) -> None:
        """Take back what another selector `held`."""
        if isinstance(row, SpanRecord):
            self._hold(row, now=now)
        else:
            self._begin(row)

    def held(self) -> list[Row]:
        """What is not decided: a new selector is to `hold` it."""
        return [*self._running.values(), *(span for _, spans, _ in self._held.values() for span in spans)]

    # ---

    def _begin(self, record: ExecutionRecord) -> None:
        if record.id in self._decided:
            return  # its end overtook it
        self._running[record.id] = record
        self.has_changed = True
        if len(self._running) > MAX_HELD:
            self._running.popitem(last=False)

    def _ended(self, record: ExecutionRecord) -> Iterator[Decisions]:
        wanted = self._decide(record)
        self._decided[record.id] = wanted
        if len(self._decided) > MAX_HELD:
            self._decided.popitem(last=False)
        if self._running.pop(record.id, None) is not None:
            self.has_changed = True
        if record.id in self._held:
            _, spans, size = self._held.pop(record.id)
            self._release(spans, size)
            for span in spans:
                yield from self._give(span, wanted & ~self._direct(span))
        yield from self._give(record, wanted)

    def _child(self, span: SpanRecord, *, now: float) -> Iterator[Decisions]:
        direct = self._direct(span)
        decided = self._decided.get(span.execution_id)
        if decided is not None:
            direct |= decided
        yield from self._give(span, direct)
        if decided is None and direct != self._all:
            self._hold(span, now=now)

    def _hold(self, span: SpanRecord, *, now: float) -> None:
        since, spans, size = self._held.pop(span.execution_id, (now, [], 0))
        if not any(one.span_id == span.span_id for one in spans[-64:]):  # else it was read again after a restart
            spans.append(span)
            more = len(span.attributes) + len(span.events) + len(span.span) + 500
            size += more
            self._held_spans += 1
            self._held_bytes += more
            self.has_changed = True
        self._held[span.execution_id] = (since, spans, size)

    def _direct(self, span: SpanRecord) -> int:
        """Who gets this span whatever its execution is."""
        return self._at_once if _is_sampled(span) else 0

    def _decide(self, record: ExecutionRecord) -> int:
        is_failure = record.status is not Status.COMPLETED
        is_sampled = _is_sampled(record)
        is_slow = self._samples and self._slowest.is_slow(record.plugin_name, record.duration)
        wanted = 0
        for number, rule in enumerate(self._rules):
            if rule.plugins and record.plugin_name not in rule.plugins:
                continue
            if rule.statuses and record.status not in rule.statuses:
                continue
            passes = is_slow or passes_ratio(record.trace_id, rule.ratio)
            if is_failure or (is_sampled and passes):
                wanted |= 1 << number
        return wanted

    def _give(self, row: Row, wanted: int) -> Iterator[Decisions]:
        if wanted:
            yield Decisions(row, wanted)

    def _release(self, spans: list[SpanRecord], size: int) -> None:
        self._held_spans -= len(spans)
        self._held_bytes -= size
        self.has_changed = True


def _is_sampled(row: Row) -> bool:
    return '"flags"' not in row.span or span_facts.read(row.span).is_sampled
