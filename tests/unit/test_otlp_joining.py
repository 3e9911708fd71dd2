"""Which execution a span of another program belongs to, in whatever order they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from exporters.otlp.given import Rules
from exporters.otlp.incoming import read
from exporters.otlp.joining import Joiner
from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from exporters.otlp.incoming import Sent

FIRST, SECOND = (f"0199f2b0-6d5e-7c1a-9f00-00000000000{n}" for n in (1, 2))


def sent(number: int, *, parent: int = 0, trace: int = 1, **ids: str) -> Sent:
    message = Span(
        trace_id=trace.to_bytes(16),
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        name=f"span {number}",
        start_time_unix_nano=1,
    )
    for name, value in ids.items():
        message.attributes.add(key=f"otel_tracker.execution.{name}").value.string_value = value
    return read(message, {}, Rules())


class Fixture:
    """A joiner with a clock to turn, and executions that are known elsewhere."""

    def __init__(self, **known: str) -> None:
        self.now = 0.0
        self.asked: list[frozenset[str]] = []
        self._known = {format(int(trace[1:]), "032x"): execution for trace, execution in known.items()}
        self.joiner = Joiner(self._find, max_held=3, hold_seconds=60, clock=lambda: self.now)

    def _find(self, trace_ids: frozenset[str]) -> Mapping[str, str]:
        self.asked.append(trace_ids)
        return self._known

    def join(self, *spans: Sent) -> dict[str, str]:
        rows = [sent.row for sent in self.joiner.join(spans).rows]
        return {
            f"span {int(row.span_id, 16)}": row.id if isinstance(row, ExecutionRecord) else row.execution_id
            for row in rows
        }


def test_spans_join_the_nearest_execution_above_them() -> None:
    found = Fixture().join(
        sent(4, parent=3), sent(3, parent=2), sent(2, parent=1, id=SECOND), sent(1, id=FIRST), sent(5, parent=1)
    )
    assert found == {"span 1": FIRST, "span 2": SECOND, "span 3": SECOND, "span 4": SECOND, "span 5": FIRST}


def test_what_a_span_says_of_itself_counts_most() -> None:
    assert Fixture().join(sent(1, id=FIRST), sent(2, parent=1, parent_id=SECOND)) == {"span 1": FIRST, "span 2": SECOND}


def test_a_span_that_comes_before_its_execution_waits_for_it() -> None:
    fixture = Fixture()
    assert fixture.join(sent(2, parent=1)) == {}
    assert fixture.joiner.holding == 1
    assert fixture.join(sent(1, id=FIRST)) == {"span 1": FIRST, "span 2": FIRST}
    assert fixture.joiner.holding == 0
    assert fixture.join(sent(3, parent=9)) == {"span 3": FIRST}
    assert fixture.join(sent(4, trace=2)) == {}


def test_an_execution_that_began_here_is_found() -> None:
    fixture = Fixture(t1=FIRST)
    assert fixture.join(sent(2, parent=1)) == {"span 2": FIRST}
    assert fixture.join(sent(3)) == {"span 3": FIRST}
    assert len(fixture.asked) == 1  # of the same trace nobody asks twice


def test_what_waits_too_long_is_given_up_and_counted() -> None:
    fixture = Fixture()
    fixture.join(sent(2))
    fixture.now = 60
    assert fixture.join(sent(1, id=FIRST)) == {"span 1": FIRST}
    assert (fixture.joiner.holding, fixture.joiner.given_up) == (0, 1)


def test_what_finds_no_room_to_wait_is_refused() -> None:
    joined = Fixture().joiner.join([sent(n, trace=n) for n in range(1, 6)])
    assert (joined.rows, joined.held, joined.refused) == ([], 3, 2)


def test_what_waits_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.otlp.joining.MAX_HELD_BYTES", 1200)
    joined = Fixture().joiner.join([sent(n, trace=n) for n in range(1, 4)])
    assert (joined.held, joined.refused) == (2, 1)


def test_a_loop_in_what_was_sent_ends() -> None:
    spans: list[Any] = [sent(1, parent=2), sent(2, parent=1)]
    assert Fixture().join(*spans) == {}
