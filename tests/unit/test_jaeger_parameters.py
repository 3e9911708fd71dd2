"""Jaeger's search parameters as a filter of the history."""

from __future__ import annotations

from typing import Any

import pytest

from bridge_app.api.jaeger.parameters import JaegerQuery, jaeger_query, padded_trace_id
from bridge_app.problems import FieldError
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status

NOW = 1_749_220_428_000_000_000
DAY = 86_400_000_000_000


def query(**given: Any) -> JaegerQuery:
    texts = {name: [value] if isinstance(value, str) else list(value) for name, value in given.items()}
    return jaeger_query({"service": ["bridge"]} | texts, service="bridge", now=NOW)


def found(**given: Any) -> ExecutionFilter:
    chosen = query(**given).filter
    assert chosen is not None
    return chosen


def test_without_bounds_it_is_the_last_two_days_and_a_hundred_traces() -> None:
    assert query() == JaegerQuery(
        filter=ExecutionFilter(started_from=NOW - 2 * DAY, started_before=NOW + 1000), limit=100
    )


def test_empty_parameters_and_unknown_ones_are_not_there() -> None:
    """Jaeger's UI sends `maxDuration&minDuration` and `lookback=1h`."""
    assert query(maxDuration="", minDuration="", operation="", tags="", limit="", lookback="1h", x="y") == query()


def test_times_are_microseconds_and_the_end_is_inside() -> None:
    chosen = found(start="1749220428000000", end="1749220429000000")
    assert (chosen.started_from, chosen.started_before) == (NOW, NOW + 1_000_001_000)
    assert found(end="9999999999999999").started_before == 2**63 - 1


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1.2s", 1_200_000_000), ("100ms", 100_000_000), ("500us", 500_000), ("500µs", 500_000), ("1h30m", 5_400 * 10**9)],
)
def test_durations_are_gos(text: str, nanoseconds: int) -> None:
    assert found(minDuration=text).min_duration == nanoseconds
    assert found(maxDuration=text).max_duration == nanoseconds


def test_no_duration_is_none() -> None:
    assert found(minDuration="0", maxDuration="0s").min_duration is None


def test_an_operation_is_a_plugin() -> None:
    assert found(operation="execute a,b").plugins == ("a,b",)
    assert query(operation="GET").filter is None


def test_another_service_has_nothing() -> None:
    assert query(service="shop").filter is None


@pytest.mark.parametrize("tags", ['{"error":"true"}', '{"otel.status_code":"ERROR"}'])
def test_errors_are_executions_that_failed(tags: str) -> None:
    assert found(tags=tags).statuses == (Status.FAILED, Status.TIMEOUT, Status.CANCELED)
    assert found(tag="error:false").statuses == (Status.COMPLETED, Status.RUNNING, Status.PENDING)


def test_span_attributes_with_an_index_are_filters() -> None:
    chosen = found(
        tags='{"error.type":"timeout","otel_tracker.plugin.name":"greet","otel_tracker.delivery.id":"d-1"}',
        tag=["otel_tracker.status:failed"],
    )
    assert (chosen.error_types, chosen.plugins, chosen.delivery_id) == (("timeout",), ("greet",), "d-1")
    assert chosen.statuses == (Status.FAILED,)


def test_other_names_are_tags_of_the_execution() -> None:
    assert found(tags='{"job_id":"job:1"}', tag="team:a").tags == (("team", "a"), ("job_id", "job:1"))


def test_trace_ids_stand_for_themselves() -> None:
    chosen = query(traceID=["12", "AB" * 16], service="")
    assert chosen.trace_ids == ("0" * 30 + "12", "ab" * 16)
    assert padded_trace_id("traceID", "ab" * 8) == "0" * 16 + "ab" * 8


@pytest.mark.parametrize(("limit", "traces"), [("0", 1), ("20", 20), ("99999", 1500)])
def test_the_limit_is_kept_within_bounds(limit: str, traces: int) -> None:
    assert query(limit=limit).limit == traces


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"service": ""}, "service"),
        ({"start": "yesterday"}, "start"),
        ({"end": "-1"}, "end"),
        ({"limit": "many"}, "limit"),
        ({"minDuration": "100"}, "minDuration"),
        ({"maxDuration": "soon"}, "maxDuration"),
        ({"minDuration": "2s", "maxDuration": "1s"}, "maxDuration"),
        ({"tags": "error=true"}, "tags"),
        ({"tags": '["error"]'}, "tags"),
        ({"tags": '{"error": true}'}, "tags"),
        ({"tags": '{"span.kind": "server"}'}, "tags"),
        ({"tags": "[" * 100_000}, "tags"),
        ({"tag": "error"}, "tag"),
        ({"tag": [f"t{number}:1" for number in range(11)]}, "tags"),
        ({"tags": '{"otel_tracker.status": "well"}'}, "status"),
        ({"traceID": "x"}, "traceID"),
        ({"traceID": ["1"] * 101}, "traceID"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        query(**given)
    assert caught.value.field == field
