"""The filters of the history as text → one ExecutionFilter."""

from __future__ import annotations

import pytest

from bridge_app.api.filters import execution_filter
from bridge_app.problems import FieldError
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status

NOW = 1_749_220_428_000_000_000
HOUR = 3_600_000_000_000


def test_nothing_given_is_everything() -> None:
    assert execution_filter(now=NOW) == ExecutionFilter()
    assert execution_filter(now=NOW, q="", start_time="", min_duration="") == ExecutionFilter()


def test_every_filter_is_read() -> None:
    assert execution_filter(
        now=NOW,
        plugin=["a,b", "c", "a"],
        status=["failed", "timeout"],
        error_type=["timeout"],
        trace_id="4BF92F35-77B3-4DA6-A3CE-929D0E0E4736",
        delivery_id="d-1",
        start_time="-2h",
        end_time="-1h",
        min_duration="250ms",
        max_duration="2000000000",
        tags=["job_id:a:b"],
        q=" 纽约 ",
    ) == ExecutionFilter(
        plugins=("a", "b", "c"),
        statuses=(Status.FAILED, Status.TIMEOUT),
        error_types=("timeout",),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        delivery_id="d-1",
        started_from=NOW - 2 * HOUR,
        started_before=NOW - HOUR,
        min_duration=250_000_000,
        max_duration=2_000_000_000,
        tags=(("job_id", "a:b"),),
        text=" 纽约 ",
    )


def test_a_shortest_duration_beyond_the_longest_is_refused() -> None:
    with pytest.raises(FieldError, match="is '2s': expected no more than max_duration, '1s'") as error:
        execution_filter(now=NOW, min_duration="2s", max_duration="1s")
    assert error.value.field == "min_duration"
    assert execution_filter(now=NOW, min_duration="0", max_duration="0").max_duration == 0
