"""A running execution: an input that is captured late, a clock that stops early, and whether it ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from otel_tracker import Status
from otel_tracker.capture import Captured, capture
from otel_tracker.execution import Execution, LateInput
from otel_tracker.redaction import Redactor
from otel_tracker.testing import BEGIN, SECOND, Recorded, record_executions
from otel_tracker.tracking import Tracker, get_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INPUT = Captured('{"a":1}', 7)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with record_executions() as recorded:
        yield recorded


@pytest.fixture(params=["ours", "the SDK's"])
def tracker(request: pytest.FixtureRequest, recorded: Recorded) -> Tracker:
    """On a tracer of either kind."""
    if request.param == "ours":
        return get_tracker()
    tracker = Tracker(recorded.provider.get_tracer("shop"))
    tracker.clock_ns = tracker.timer_ns = recorded.clock.read
    return tracker


class Making:
    """Makes an input, and counts how often."""

    def __init__(self, made: Captured | BaseException) -> None:
        self.calls = 0
        self._made = made

    def __call__(self) -> Captured:
        self.calls += 1
        if isinstance(self._made, BaseException):
            raise self._made
        return self._made


def test_a_late_input_is_the_records(recorded: Recorded, tracker: Tracker) -> None:
    make = Making(INPUT)
    tracker.start("job", captured_input=make).end()
    assert (recorded.one.input, recorded.one.metadata, make.calls) == ('{"a":1}', "{}", 1)


def test_a_running_record_has_its_late_input_too(recorded: Recorded, tracker: Tracker) -> None:
    execution = tracker.start("job", captured_input=Making(INPUT))
    assert [(record.input, record.status) for record in recorded.running] == [('{"a":1}', Status.RUNNING)]
    execution.end()
    assert recorded.one.input == '{"a":1}'


def test_a_late_input_is_not_made_before_somebody_looks() -> None:
    with record_executions() as recorded:
        recorded.provider = type(recorded.provider)(shutdown_on_exit=False)  # without a processor that reads at once
        make = Making(INPUT)
        execution = Tracker(recorded.provider.execution_tracer()).start("job", captured_input=make)
        assert make.calls == 0
        execution.end()
        execution.end()
    assert make.calls == 1


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), SystemExit()], ids=lambda e: type(e).__name__)
def test_a_late_input_that_cannot_be_made_costs_itself_only(
    recorded: Recorded, tracker: Tracker, error: BaseException
) -> None:
    make = Making(error)
    execution = tracker.start("job", captured_input=make)
    execution.set_captured_output(Captured("2", 1))
    execution.end()
    assert (recorded.one.status, recorded.one.input, recorded.one.output) == (Status.COMPLETED, "", "2")
    assert (make.calls, recorded.failures) == (1, {"tracker.input": 1})


def test_of_a_late_input_that_was_cut_the_metadata_says_so(recorded: Recorded, tracker: Tracker) -> None:
    def make() -> Captured:
        return capture("x" * 2000, max_bytes=300, redactor=Redactor())

    execution = tracker.start("job", captured_input=make)
    execution.set_metadata("priority", 1)
    execution.end()
    assert json.loads(recorded.one.metadata) == {
        "priority": 1,
        "input_truncated": True,
        "input_size": 2002,
        "input_sha256": json.loads(recorded.one.input)["sha256"],
    }


def test_a_late_input_that_is_no_input_ends_the_execution_all_the_same(recorded: Recorded, tracker: Tracker) -> None:
    nonsense: Any = lambda: "text"  # noqa: E731 - a value, of the wrong kind
    execution = tracker.start("job", captured_input=nonsense)
    execution.end()
    assert recorded.running == []
    assert recorded.failures


def test_of_two_makings_at_once_the_first_counts() -> None:
    first, calls = Captured("1", 1), 0

    def make() -> Captured:
        """While the first call is at it, another thread comes in and is done before."""
        nonlocal calls
        calls += 1
        if calls == 2:
            return first
        assert late.captured() is first
        return INPUT

    late = LateInput(make)
    assert (late.captured(), late.attributes()) == (first, {"otel_tracker.input": "1"})
    assert calls == 2


def test_a_stopped_clock_is_the_end_though_it_is_ended_later(recorded: Recorded, tracker: Tracker) -> None:
    """Each look at the clock takes a second."""
    execution = tracker.start("job")
    start = recorded.running[0].start_time
    execution.stop_clock()
    for _ in range(5):
        recorded.clock.read()
    execution.end()
    record = recorded.one
    assert record.start_time == start == BEGIN + SECOND
    assert (record.duration, record.end_time) == (SECOND, start + SECOND)


def test_the_last_stop_counts_and_one_after_the_end_does_not(recorded: Recorded) -> None:
    execution = get_tracker().start("job")
    execution.stop_clock()
    execution.stop_clock()
    execution.end()
    execution.stop_clock()
    assert recorded.one.duration == 2 * SECOND


def test_a_clock_that_fails_reaches_nobody(recorded: Recorded) -> None:
    tracker = get_tracker()
    execution = tracker.start("job")

    def broken() -> int:
        raise RuntimeError

    read, tracker.timer_ns = tracker.timer_ns, broken
    execution.stop_clock()
    tracker.timer_ns = read
    execution.end()
    assert (recorded.one.status, recorded.failures) == (Status.COMPLETED, {"execution.stop_clock": 1})


ENDS: dict[str, Callable[[Execution], None]] = {
    "end": lambda execution: execution.end(),
    "by an exception": lambda execution: execution.end(error=ValueError()),
    "an end that fails": lambda execution: execution.end(attributes=1),  # type: ignore[arg-type]  # on purpose
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_says_whether_it_ended(recorded: Recorded, end: Callable[[Execution], None]) -> None:
    execution = get_tracker().start("job")
    assert not execution.is_ended
    execution.stop_clock()
    assert not execution.is_ended
    end(execution)
    assert execution.is_ended


def test_one_that_tracks_nothing_counts_as_ended_and_takes_every_call() -> None:
    execution = Execution(get_tracker(), None)
    execution.stop_clock()
    execution.set_captured_output(INPUT)
    execution.end()
    assert (execution.is_ended, execution.id, execution.trace_id) == (True, "", "")
