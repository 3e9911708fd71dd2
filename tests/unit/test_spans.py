"""An execution's span does what OpenTelemetry specifies, which the SDK's own span says, given the same calls."""

from __future__ import annotations

import enum
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from both_spans import Traced, at_once, facts
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, use_span

from otel_tracker.spans import MAX_ATTRIBUTES, MAX_EVENTS, MAX_INNER_ATTRIBUTES, MAX_LINKS, ExecutionSpan, given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
NOWHERE = SpanContext(0, 0, is_remote=False)
TRACED_NOWHERE = SpanContext(0, 0, is_remote=False, trace_state=TraceState([("vendor", "1")]))
MANY = {f"key{number}": number for number in range(MAX_INNER_ATTRIBUTES + 2)}


class Told:
    def __str__(self) -> str:
        return "told"


class Word(enum.StrEnum):
    ONE = "one"


class Number(enum.IntEnum):
    TWO = 2


@pytest.fixture
def traced() -> Traced:
    return Traced()


def many_events(span: Span) -> None:
    for number in range(MAX_EVENTS + 2):
        span.add_event("e", timestamp=number)


def many_links(span: Span) -> None:
    for _ in range(MAX_LINKS + 2):
        span.add_link(OTHER)


def set_statuses(*statuses: Any) -> Callable[[Span], None]:
    def call(span: Span) -> None:
        for status in statuses:
            span.set_status(*status) if isinstance(status, tuple) else span.set_status(status)

    return call


CALLS: dict[str, Callable[[Any], object]] = {
    "nothing": lambda _: None,
    "plain values": lambda span: span.set_attributes({"a": "x", "b": 1, "c": True, "d": 1.5, "e": ""}),
    "one value": lambda span: span.set_attribute("a", "x"),
    "no values": lambda span: span.set_attributes({}),
    "sequences": lambda span: span.set_attributes({"a": ["x", "y"], "b": (1, None), "c": [], "d": b"\xff"}),
    "nested": lambda span: span.set_attribute("a", {"b": [{"c": None, "": 1, 2: "x"}], "d": Told()}),
    "none": lambda span: span.set_attribute("a", None),
    "objects": lambda span: span.set_attributes({"a": Told(), "b": object(), "c": {1}, "d": 1j}),
    "enums": lambda span: span.set_attributes({"a": Word.ONE, "b": Number.TWO}),
    "no number": lambda span: span.set_attributes({"a": float("inf"), "b": -0.0}),
    "empty keys": lambda span: span.set_attributes({"": 1, "a": 2}),
    "an empty key": lambda span: span.set_attribute("", 1),
    "an empty key of an odd value": lambda span: span.set_attribute("", [1]),
    "keys that are no text": lambda span: span.set_attributes({1: "a", Told(): "b", object(): "c"}),
    "a key again": lambda span: [span.set_attribute("a", value) for value in ("x", [1], 2)],
    "an event": lambda span: span.add_event("e", {"a": 1, "b": [Told()], "": 1}, timestamp=1500),
    "an event without attributes": lambda span: span.add_event("e", timestamp=1500),
    "an event at zero": lambda span: span.add_event("e", timestamp=0),
    "an event with too much": lambda span: span.add_event("e", MANY, timestamp=1500),
    "links": lambda span: [span.add_link(OTHER), span.add_link(OTHER, {"a": [1], "": 2})],
    "a link with too much": lambda span: span.add_link(OTHER, MANY),
    "links to nowhere": lambda span: [span.add_link(to) for to in (NOWHERE, TRACED_NOWHERE)],
    "a link to nowhere that says why": lambda span: span.add_link(NOWHERE, {"why": "no id came"}),
    "too many links": many_links,
    "another name": lambda span: span.update_name("b"),
    "an error": set_statuses((StatusCode.ERROR, "no")),
    "an error as a status": set_statuses(Status(StatusCode.ERROR, "no")),
    "a description beside a status": set_statuses((Status(StatusCode.ERROR, "no"), "other")),
    "an error, then another": set_statuses((StatusCode.ERROR, "no"), (StatusCode.ERROR, "other")),
    "an error, then OK": set_statuses((StatusCode.ERROR, "no"), StatusCode.OK),
    "OK, then an error": set_statuses(StatusCode.OK, (StatusCode.ERROR, "no")),
    "OK with a description": set_statuses((StatusCode.OK, "fine")),
    "an error, then unset": set_statuses((StatusCode.ERROR, "no"), StatusCode.UNSET, Status()),
    "a status that is none": set_statuses("ERROR", (None, "no"), 2),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_same_calls_give_the_same_span_as_the_sdk(traced: Traced, call: Callable[[Any], object]) -> None:
    ours, theirs = traced.both(kind=SpanKind.SERVER, attributes={"first": 1, "list": [1]})
    call(ours)
    call(theirs)
    assert facts(ours) == facts(theirs)
    ours.end(2000)
    theirs.end(2000)
    assert facts(ours) == facts(theirs)
    assert ours.is_recording() is theirs.is_recording() is False


def test_objects_become_their_text() -> None:
    """What the comparison says, as a literal: the SDK's rule is what is relied on."""
    span = Traced().ours(attributes={"a": Told(), "b": object(), "c": ["x", Told()], "d": None})
    assert span.attributes == {"a": "told", "b": None, "c": ("x", "told"), "d": None}


def test_attributes_beyond_the_limit_are_counted_as_the_sdk_counts(traced: Traced) -> None:
    ours, theirs = traced.both(attributes={"id": "one"})
    for span in (ours, theirs):
        span.set_attributes({f"key{number}": number for number in range(MAX_ATTRIBUTES - 1)})
        assert span.dropped_attributes == 0
        span.set_attributes({"more": 1, "list": [1]})
    assert ours.dropped_attributes == theirs.dropped_attributes == 2
    assert len(ours.settle()) == MAX_ATTRIBUTES


def test_the_first_attributes_stay_and_may_change_where_there_is_no_room(traced: Traced) -> None:
    span = traced.ours(attributes={"id": "one", "list": [1]})
    span.set_attributes({f"key{number}": number for number in range(MAX_ATTRIBUTES)})
    span.set_attributes({"id": "two", "list": [2]})
    assert (given(span)["id"], given(span)["list"]) == ("two", (2,))


def test_events_and_links_beyond_the_limit_are_counted_as_the_sdk_counts(traced: Traced) -> None:
    ours, theirs = traced.both()
    for span in (ours, theirs):
        many_events(span)
        many_links(span)
    assert facts(ours)["dropped"] == facts(theirs)["dropped"] == (0, 2, 2)
    assert (len(ours.events), len(ours.links)) == (MAX_EVENTS, MAX_LINKS)


def test_an_event_without_a_time_happens_now(traced: Traced) -> None:
    ours, theirs = traced.both()
    for span in (theirs, ours, theirs):
        span.add_event("e")
    first, last = (event.timestamp for event in theirs.events)
    assert first <= ours.events[0].timestamp <= last


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines"), KeyError("x"), RuntimeError(), json.JSONDecodeError("a", "b", 0)]
)
def test_an_exception_is_the_event_that_the_sdk_makes(traced: Traced, error: Exception) -> None:
    ours, theirs = traced.both()
    for span in (ours, theirs):
        try:
            raise error
        except type(error) as raised:
            span.record_exception(raised, {"more": [1]}, timestamp=1500)
    (event,), (expected,) = ours.events, theirs.events
    got, wanted = dict(event.attributes or {}), dict(expected.attributes or {})
    stack = str(got.pop("exception.stacktrace"))
    del wanted["exception.stacktrace"], wanted["exception.escaped"]  # the last is deprecated
    assert (event.name, event.timestamp, got) == ("exception", 1500, wanted)
    assert stack.startswith("Traceback (most recent call last):\n")
    assert "raise error" in stack


def test_an_exceptions_own_attributes_win(traced: Traced) -> None:
    span = traced.ours()
    span.record_exception(ValueError("no"), {"exception.message": "yes"})
    assert dict(span.events[0].attributes or {})["exception.message"] == "yes"


def test_an_exception_that_cannot_be_told_or_is_long_is_recorded_all_the_same(traced: Traced) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    span = traced.ours()
    span.record_exception(MuteError())
    span.record_exception(ValueError("x\x00" * 5000))
    mute, long = (dict(event.attributes or {})["exception.message"] for event in span.events)
    assert (mute, long) == ("[unprintable]", "x\ufffd" * 1000)


def change_everything(span: Span) -> None:
    span.set_attribute("late", 1)
    span.set_attributes({"a": 2, "late": [1]})
    span.add_event("late")
    span.add_link(OTHER)
    span.update_name("late")
    span.set_status(StatusCode.ERROR, "late")
    span.record_exception(ValueError("late"))


def test_nothing_changes_after_the_end(traced: Traced) -> None:
    ours, theirs = traced.both(attributes={"a": 1})
    for span in (ours, theirs):
        span.end(2000)
    before = facts(ours)
    for span in (ours, theirs):
        change_everything(span)
        span.end(3000)
        with span:
            change_everything(span)
    assert facts(ours) == before == facts(theirs)
    assert len(traced.kept.ended) == 2


def test_what_was_read_of_an_ended_span_stays(traced: Traced) -> None:
    """An exporter's thread goes through it while the code goes on."""
    span = traced.ours(attributes={"a": 1})
    span.end(2000)
    attributes = traced.kept.ended[0].attributes
    change_everything(span)
    assert attributes == {"a": 1}


def test_attributes_cannot_be_changed_by_who_reads_them(traced: Traced) -> None:
    attributes: Any = traced.ours(attributes={"a": 1}).attributes
    with pytest.raises(TypeError):
        attributes["a"] = 2


def test_an_end_without_a_time_is_now(traced: Traced) -> None:
    ours, theirs = traced.both()
    before = traced.theirs()
    before.end()
    ours.end()
    theirs.end()
    first, mine, last = (span.end_time or 0 for span in traced.kept.ended)
    assert first <= mine <= last


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_of_many_threads_that_end_it_one_does(traced: Traced, eager_threads: None) -> None:
    for _ in range(50):
        traced.kept.ended.clear()
        span = traced.ours()
        at_once(8, lambda number, span=span: span.end(2000 + number))  # type: ignore[misc]  # bound at once
        assert traced.kept.ended == [span]
        assert span.end_time in range(2000, 2008)


def test_a_thread_that_sets_while_another_ends_and_reads_disturbs_nobody(traced: Traced, eager_threads: None) -> None:
    for _ in range(50):
        span = traced.ours(attributes=dict(MANY))
        seen: list[dict[str, Any]] = []

        def act(number: int, span: ExecutionSpan = span, seen: list[dict[str, Any]] = seen) -> None:
            if number:
                span.set_attributes({f"more{each}": each for each in range(1000)})
            else:
                span.end(2000)
                seen.extend(dict(span.attributes or {}) for _ in range(10))

        at_once(2, act)
        assert all(each == seen[0] for each in seen)
        assert span.attributes == seen[0]


def test_as_a_context_manager_it_gives_itself_and_ends(traced: Traced) -> None:
    span = traced.ours()
    with span as entered:
        assert (entered, span.is_recording()) == (span, True)
    assert traced.kept.ended == [span]


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), RuntimeError(), KeyboardInterrupt()])
def test_an_exception_that_leaves_it_is_told_as_the_sdk_tells_it(traced: Traced, error: BaseException) -> None:
    ours, theirs = traced.both()
    for span in (ours, theirs):
        with pytest.raises(type(error)) as caught, span:
            raise error
        assert caught.value is error
    assert facts(ours)["status"] == facts(theirs)["status"]
    assert [event[0] for event in facts(ours)["events"]] == ["exception"]


def test_the_apis_own_context_manager_takes_it(traced: Traced) -> None:
    ours, theirs = traced.both()
    for span in (ours, theirs):
        with pytest.raises(ValueError, match="no"), use_span(span, end_on_exit=True):
            raise ValueError("no")
    assert facts(ours)["status"] == facts(theirs)["status"] == (StatusCode.ERROR, "ValueError: no")
    assert len(ours.events) == 1
