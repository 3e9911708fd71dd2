"""Executions opened by hand: what becomes of input, output, tags, metadata and failures."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import get_current_span

from otel_tracker import ExecutionRecord, Status, track
from otel_tracker.capture import CaptureSettings
from otel_tracker.execution import Failure
from otel_tracker.testing import BEGIN, SECOND, record_executions
from otel_tracker.tracking import _global_tracker, get_tracker, set_tracker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.testing import Recorded

BIG = "x" * 2000


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with record_executions() as recorded:
        yield recorded


class Interrupt(BaseException):
    """Neither an Exception nor one that Python itself raises."""


class Hostile:
    def __str__(self) -> str:
        raise Interrupt

    __repr__ = __str__


class HostileMapping(dict[str, Any]):
    def keys(self) -> Any:
        raise Interrupt

    items = __iter__ = keys


def test_a_block_becomes_one_record(recorded: Recorded) -> None:
    with track("import", input={"rows": 2}, tags={"job_id": "job-123"}) as execution:
        execution.set_output({"imported": 2})
    assert recorded.one == ExecutionRecord(
        id="00000000-0000-7000-8000-000000000001",
        plugin_name="import",
        status=Status.COMPLETED,
        start_time=BEGIN + SECOND,
        end_time=BEGIN + 2 * SECOND,
        input='{"rows":2}',
        output='{"imported":2}',
        duration=SECOND,
        trace_id="00000000000000000000000000000001",
        span_id="0000000000000001",
        tags='{"job_id":"job-123"}',
        instance_id="test",
        created_at=BEGIN + SECOND,
        updated_at=BEGIN + 2 * SECOND,
        span='{"flags":3}',
    )


def test_an_execution_says_the_ids_of_its_record(recorded: Recorded) -> None:
    with track("import") as execution:
        pass
    assert (execution.id, execution.trace_id) == (recorded.one.id, recorded.one.trace_id)


def test_a_running_execution_shows_what_was_known_at_its_start(recorded: Recorded) -> None:
    with track("import", input=[1], tags={"a": "b"}) as execution:
        execution.set_output("later")
        (running,) = recorded.running
    assert (running.status, running.input, running.tags, running.output) == (Status.RUNNING, "[1]", '{"a":"b"}', "")
    assert (running.end_time, running.duration) == (None, 0)


def test_nested_executions_are_parent_and_child_in_one_trace(recorded: Recorded) -> None:
    with track("outer"), track("inner"):
        pass
    inner, outer = recorded.executions
    assert (inner.plugin_name, inner.parent_span_id, inner.trace_id) == ("inner", outer.span_id, outer.trace_id)
    assert outer.parent_span_id == ""


def test_the_current_span_is_the_executions_inside_the_block_only(recorded: Recorded) -> None:
    before = get_current_span()
    with track("import") as execution:
        assert get_current_span() is execution.span
    assert get_current_span() is before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError("slow"), (Status.TIMEOUT, "timeout", "slow")),
        (ConnectionRefusedError("shut"), (Status.FAILED, "connection_error", "shut")),
        (RuntimeError(), (Status.FAILED, "unknown_error", "RuntimeError")),
        (SystemExit(3), (Status.FAILED, "plugin_exited", "3")),
        (asyncio.CancelledError(), (Status.CANCELED, "canceled", "asyncio.exceptions.CancelledError")),
        (KeyboardInterrupt(), (Status.CANCELED, "canceled", "KeyboardInterrupt")),
        (Interrupt(), (Status.FAILED, "unknown_error", "test_tracking.Interrupt")),
    ],
)
def test_an_exception_passes_and_says_why_it_failed(
    recorded: Recorded, error: BaseException, expected: tuple[Status, str, str]
) -> None:
    with pytest.raises(type(error)) as caught, track("import"):
        raise error
    assert caught.value is error
    record = recorded.one
    assert (record.status, record.error_type) == expected[:2]
    assert record.error.endswith(expected[2])
    assert "raise error" in record.traceback


def test_a_failure_without_an_exception_is_recorded_as_it_is_given(recorded: Recorded) -> None:
    failure = Failure(status=Status.TIMEOUT, error_type="timeout", message="30 s", traceback="at a")
    get_tracker().start("job").fail(failure, attributes={"otel_tracker.attempts": 3})
    record = recorded.one
    assert (record.status, record.error_type, record.error, record.traceback) == (
        Status.TIMEOUT, "timeout", "30 s", "at a",
    )  # fmt: skip
    assert (record.attempts, record.retry_count) == (3, 2)


def test_the_first_end_counts_and_what_comes_later_is_ignored(recorded: Recorded) -> None:
    execution = get_tracker().start("job")
    execution.end()
    execution.set_output("late")
    execution.set_tag("late", "1")
    execution.set_metadata("late", 1)
    execution.end(error=ValueError())
    assert (recorded.one.status, recorded.one.output, recorded.one.tags) == (Status.COMPLETED, "", "{}")
    assert not recorded.failures


def test_the_last_output_wins(recorded: Recorded) -> None:
    with track("job") as execution:
        execution.set_output(1)
        execution.set_output([2])
    assert recorded.one.output == "[2]"


def test_secrets_are_hidden_in_every_text_and_never_in_the_callers_value(recorded: Recorded) -> None:
    value = {"user": "ada", "password": "hunter2"}
    with track("job", input=value, tags={"api_key": "hunter2"}) as execution:
        execution.set_output(value)
        execution.set_metadata("authorization", "hunter2")
    assert "hunter2" not in repr(recorded.one)
    assert value == {"user": "ada", "password": "hunter2"}


def test_what_is_too_large_is_cut_and_the_metadata_says_so() -> None:
    settings = CaptureSettings(max_input_size=300, max_output_size=300)
    with record_executions(settings=settings) as recorded, track("job", input=BIG) as execution:
        execution.set_output(BIG)
        execution.set_metadata("priority", 1)
    assert len(recorded.one.input) <= 300
    assert json.loads(recorded.one.input)["size"] == 2002
    metadata = json.loads(recorded.one.metadata)
    assert (metadata["priority"], metadata["input_truncated"], metadata["output_size"]) == (1, True, 2002)
    assert metadata["input_sha256"] == json.loads(recorded.one.input)["sha256"]


def test_what_is_switched_off_is_not_kept() -> None:
    settings = CaptureSettings(track_input=False, track_output=False, track_errors=False)
    with record_executions(settings=settings) as recorded:
        execution = get_tracker().start("job", input="in")
        execution.set_output("out")
        execution.end(error=TimeoutError("a secret"))
    record = recorded.one
    assert (record.input, record.output, record.error, record.traceback) == ("", "", "", "")
    assert (record.status, record.error_type) == (Status.TIMEOUT, "timeout")


def test_tags_are_texts_and_later_ones_join_those_of_the_start(recorded: Recorded) -> None:
    odd: Any = {1: None}
    with track("job", tags=odd) as execution:
        execution.set_tag("nul", "a\x00\ud800")
    assert json.loads(recorded.one.tags) == {"1": "None", "nul": "a\ufffd\ufffd"}


def test_metadata_of_any_kind_is_written_as_json(recorded: Recorded) -> None:
    with track("job") as execution:
        execution.set_metadata("odd", {"nan": float("nan"), "set": {1}, "nul": "\x00"})
    assert json.loads(recorded.one.metadata) == {"odd": {"nan": "NaN", "set": [1], "nul": "\ufffd"}}


@pytest.mark.parametrize("value", [Hostile(), HostileMapping(a=1)], ids=["object", "mapping"])
def test_a_value_that_attacks_its_reader_costs_itself_and_not_the_record(recorded: Recorded, value: Any) -> None:
    with track("job", input=value, tags=value) as execution:
        execution.set_output(value)
        execution.set_tag(value, value)
        execution.set_metadata("good", 1)
    assert (recorded.one.status, json.loads(recorded.one.metadata)) == (Status.COMPLETED, {"good": 1})
    assert recorded.failures


@pytest.mark.parametrize(
    ("error", "expected"), [(None, Status.COMPLETED), (ValueError(), Status.FAILED)], ids=["success", "failure"]
)
def test_an_execution_whose_end_fails_ends_all_the_same(
    recorded: Recorded, error: BaseException | None, expected: Status
) -> None:
    execution = get_tracker().start("job", input=1)
    execution.end(error=error, attributes=HostileMapping(a=1))
    assert (recorded.one.status, recorded.one.input, recorded.running) == (expected, "1", [])
    assert recorded.failures == {"execution.end": 1}


def test_an_execution_that_cannot_start_tracks_nothing(recorded: Recorded) -> None:
    execution = get_tracker().start("job", attributes=HostileMapping(a=1))
    execution.set_output(1)
    execution.end()
    assert (execution.id, execution.trace_id, execution.span) == ("", "", None)
    assert (recorded.executions, recorded.running, recorded.failures) == ([], [], {"tracker.start": 1})


def test_without_a_provider_nothing_is_tracked() -> None:
    before = set_tracker(None)
    with track("job", input=1) as execution:
        execution.set_output(1)
    set_tracker(before)
    assert (execution.id, execution.trace_id) == ("", "")


def test_a_provider_that_does_not_load_does_not_reach_the_tracked_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry raises from `get_tracer` where the environment names a provider that is not installed."""
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "not_installed")
    before = set_tracker(None)
    _global_tracker.cache_clear()
    with track("job") as execution:
        pass
    _global_tracker.cache_clear()
    set_tracker(before)
    assert execution.id == ""
