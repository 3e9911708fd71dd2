"""The history over REST: a real server over a store whose rows are known, so every answer is a literal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess, until

from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

SECOND = 1_000_000_000
FRIDAY = 1_749_218_400 * SECOND  # 2025-06-06T14:00:00Z
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ECHO = "def handle(event):\n    return event.data\n"


def row(number: int, plugin: str, status: Status = Status.COMPLETED, *, days: int = 0, **more: Any) -> ExecutionRecord:
    """Started `number` minutes after two on a Friday, took as many tenths of a second."""
    start, duration = FRIDAY + (days * 86_400 + number * 60) * SECOND, number * SECOND // 10
    if status is Status.RUNNING:
        id_ = f"{plugin}-{number}"
        return ExecutionRecord(id=id_, plugin_name=plugin, status=status, start_time=start, rank=Rank.RUNNING)
    return ExecutionRecord(
        id=f"{plugin}-{number}",
        plugin_name=plugin,
        status=status,
        start_time=start,
        end_time=start + duration,
        duration=duration,
        **more,
    )


FIGURES = (
    "total_executions", "successful_executions", "failed_executions", "timeout_executions", "running_executions",
    "success_rate", "avg_duration", "min_duration", "max_duration", "p50_duration", "p90_duration", "p95_duration",
    "p99_duration",
)  # fmt: skip
SHOP = [
    row(1, "shop", trace_id=TRACE, delivery_id="d-1", tags='{"job_id": "job-1", "team": "a"}', input='{"n": 1}'),
    row(2, "shop", tags='{"job_id": "job-2", "team": "a"}', output='{"to":"Naïve 纽约"}'),
    row(3, "shop", Status.FAILED, error_type="connection_error", error="refused"),
    row(4, "shop", Status.TIMEOUT, error_type="timeout"),
    row(5, "shop", days=1),
]
BILLING = [
    row(6, "billing", trace_id=TRACE),
    row(7, "billing", Status.FAILED, error_type="validation_error", tags='{"team": "b:1, c"}'),
    row(8, "billing", Status.CANCELED, error_type="canceled"),
    row(9, "billing", Status.RUNNING),
]
MEGABYTE = '{"a": "' + "x" * 1_000_000 + '"}'


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("rest")
    seed(
        folder,
        [row(n, "bulk", days=-2000) for n in range(10_001)]
        + [row(n, "heavy", days=-100, input=MEGABYTE) for n in range(12)]
        + [row(n, "paged", days=-10) for n in range(7)]
        + SHOP
        + BILLING,
    )
    process = BridgeProcess(folder, BRIDGE__EXECUTION_TRACKING__RETENTION_DAYS="36500")
    process.plugin("paged", ECHO)
    process.plugin("echo", ECHO)
    process.plugin("counted", "def handle(event):\n    return 1 / event.data['by']\n")
    yield process.start()
    process.close()


def seed(folder: Path, rows: list[ExecutionRecord]) -> None:
    store = open_store(f"sqlite:///{folder}/data/executions.db")
    for begin in range(0, len(rows), 1000):
        assert store.write(rows[begin : begin + 1000]).rejected == ()
    store.close()


def ids(page: dict[str, Any]) -> list[str]:
    return [record["id"] for record in page["executions"]]


def refused(answer: httpx.Response, field: str) -> str:
    """The message of a 422 that names exactly this field."""
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    document = answer.json()
    assert document["type"] == "/problems/invalid-parameter"
    assert [error["field"] for error in document["errors"]] == [field]
    message: str = document["errors"][0]["message"]
    return message


def test_a_record_has_the_contracts_shape(bridge: BridgeProcess) -> None:
    assert bridge.get("/executions/shop-1") == {
        "id": "shop-1",
        "plugin_name": "shop",
        "http_method": "",
        "start_time": "2025-06-06T14:01:00Z",
        "end_time": "2025-06-06T14:01:00.100000Z",
        "status": "completed",
        "input": '{"n": 1}',
        "output": "",
        "error": "",
        "error_type": "",
        "duration": 100_000_000,
        "attempts": 1,
        "retry_count": 0,
        "trace_id": TRACE,
        "span_id": "",
        "parent_span_id": "",
        "delivery_id": "d-1",
        "user_agent": "",
        "remote_ip": "",
        "tags": '{"job_id": "job-1", "team": "a"}',
        "metadata": "{}",
        "traceback": "",
        "logs": "",
        "instance_id": "",
        "created_at": "2025-06-06T14:01:00Z",
        "updated_at": "2025-06-06T14:01:00.100000Z",
        "payload_deleted": False,
    }


def test_a_running_execution_has_no_end(bridge: BridgeProcess) -> None:
    record = bridge.get("/executions/billing-9")
    assert (record["status"], record["end_time"], record["duration"]) == ("running", None, 0)


def test_a_list_is_newest_first_whole_and_counted(bridge: BridgeProcess) -> None:
    page = bridge.get("/executions", plugin="shop", limit=2, offset=1)
    assert page.pop("executions") == [bridge.get("/executions/shop-4"), bridge.get("/executions/shop-3")]
    assert page.pop("next_cursor")
    assert page == {"total": 5, "total_relation": "eq", "limit": 2, "offset": 1, "scan_complete": True}


def test_the_defaults_are_fifty_from_the_newest(bridge: BridgeProcess) -> None:
    page = bridge.get("/executions", plugin="bulk")
    assert (page["limit"], page["offset"], len(page["executions"])) == (50, 0, 50)
    assert page["executions"][0]["id"] == "bulk-10000"


def test_a_total_is_exact_up_to_ten_thousand(bridge: BridgeProcess) -> None:
    page = bridge.get("/executions", plugin="bulk", limit=1, fields="id")
    assert (page["total"], page["total_relation"]) == (10_000, "gte")


def test_an_offset_beyond_the_end_is_an_empty_page(bridge: BridgeProcess) -> None:
    page = bridge.get("/executions", plugin="shop", offset=5)
    assert page == {
        "executions": [], "total": 5, "total_relation": "eq", "limit": 50, "offset": 5, "next_cursor": None,
        "scan_complete": True,
    }  # fmt: skip


def test_a_thousand_records_come_in_one_list(bridge: BridgeProcess) -> None:
    """The handler reads them in parts; nobody can see the seams."""
    page = bridge.get("/executions", plugin="bulk", limit=1000, offset=1)
    assert ids(page) == [f"bulk-{10_000 - n}" for n in range(1, 1001)]
    following = bridge.get("/executions", plugin="bulk", limit=1, cursor=page["next_cursor"])
    assert ids(following) == ["bulk-8999"]


def test_records_of_a_megabyte_come_whole(bridge: BridgeProcess) -> None:
    answer = bridge.client.get("/api/v1/executions", params={"plugin": "heavy", "limit": 1000})
    assert answer.headers["transfer-encoding"] == "chunked"
    page = answer.json()
    assert ids(page) == [f"heavy-{n}" for n in reversed(range(12))]
    assert {record["input"] for record in page["executions"]} == {MEGABYTE}
    assert (page["total"], page["limit"], page["next_cursor"]) == (12, 1000, None)


def test_cursors_walk_the_history_while_rows_arrive(bridge: BridgeProcess) -> None:
    seen, cursor = [], None
    for _ in range(3):
        page = bridge.get("/executions", plugin="paged", limit=3, **({"cursor": cursor} if cursor else {"offset": 0}))
        seen += ids(page)
        cursor = page["next_cursor"]
        arrived = bridge.post("paged", {}).headers["X-Execution-Id"]
        assert until(lambda new=arrived: new in ids(bridge.get("/executions", plugin="paged", limit=1)))  # type: ignore[misc]
    assert seen == [f"paged-{n}" for n in reversed(range(7))]
    assert cursor is None


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"plugin": "billing"}, [9, 8, 7, 6]),
        ({"plugin": ["shop", "billing"]}, [5, 9, 8, 7, 6, 4, 3, 2, 1]),
        ({"plugin": "shop, billing", "limit": 3}, [5, 9, 8]),
        ({"plugin": "nobody"}, []),
        ({"status": "timeout"}, [4]),
        ({"status": ["timeout", "canceled"]}, [8, 4]),
        ({"status": "failed,running"}, [9, 7, 3]),
        ({"status": "pending"}, []),
        ({"error_type": "connection_error"}, [3]),
        ({"error_type": "connection_error,validation_error"}, [7, 3]),
        ({"trace_id": TRACE}, [6, 1]),
        ({"trace_id": TRACE, "plugin": "shop"}, [1]),
        ({"trace_id": "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736"}, [6, 1]),
        ({"delivery_id": "d-1"}, [1]),
        ({"delivery_id": "\x00\ud7ff'\""}, []),
        ({"start_time": "2025-06-06T14:08:00Z"}, [5, 9, 8]),
        ({"start_time": "2025-06-06T16:08:00+02:00"}, [5, 9, 8]),
        ({"start_time": "2025-06-06t14:08:00z"}, [5, 9, 8]),
        ({"start_time": "2025-06-06 14:08:00"}, [5, 9, 8]),
        ({"start_time": "2025-06-06T14:08:00.000000001Z"}, [5, 9]),
        ({"plugin": "shop", "end_time": "2025-06-06T14:03:00Z"}, [2, 1]),
        ({"plugin": "shop", "end_time": "9999-12-31T23:59:59Z"}, [5, 4, 3, 2, 1]),
        ({"plugin": "shop", "start_time": "0001-01-01T00:00:00+23:59"}, [5, 4, 3, 2, 1]),
        ({"start_time": "2025-06-06T14:02:00Z", "end_time": "2025-06-06T14:04:00Z"}, [3, 2]),
        ({"tags": "team:a"}, [2, 1]),
        ({"tags": ["team:a", "job_id:job-2"]}, [2]),
        ({"tags": "team:b:1, c"}, [7]),
        ({"tags": "team:"}, []),
        ({"plugin": "shop", "min_duration": "300ms"}, [5, 4, 3]),
        ({"plugin": "shop", "max_duration": 300_000_000}, [3, 2, 1]),
        ({"min_duration": "0.25s", "max_duration": "0.5s"}, [5, 4, 3]),
        ({"max_duration": "1000w"}, [5, 8, 7, 6, 4, 3, 2, 1]),
        ({"plugin": ["shop", "billing"], "status": ["failed", "timeout"]}, [7, 4, 3]),
        ({"plugin": ["shop", "billing"], "limit": 2, "offset": 1}, [9, 8]),
        ({"start_time": "-1m"}, []),
        ({"plugin": "shop", "start_time": "-5000d", "end_time": "-1h"}, [5, 4, 3, 2, 1]),
        ({"q": "REFUSED"}, [3]),
        ({"q": '"n": 1'}, [1]),
        ({"q": "naïve 纽约"}, [2]),
        ({"q": "NAÏVE"}, [2]),
        ({"q": "%"}, []),
        ({"q": "refused", "status": "timeout"}, []),
        ({"q": "", "plugin": "billing"}, [9, 8, 7, 6]),
    ],
)
def test_a_filter_finds_exactly_what_matches(bridge: BridgeProcess, filters: dict[str, Any], found: list[int]) -> None:
    if "paged" not in str(filters):
        filters = {"end_time": "2025-07-01T00:00:00Z", "start_time": "2025-06-01T00:00:00Z", **filters}
    assert [int(id_.split("-")[1]) for id_ in ids(bridge.get("/executions", **filters))] == found


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limit=0", "limit", ">= 1"),
        ("limit=1001", "limit", "<= 1000"),
        ("limit=many", "limit", "int"),
        ("offset=-1", "offset", ">= 0"),
        ("cursor=bm9uc2Vuc2U", "cursor", "use next_cursor of the page before"),
        ("cursor=bm9uc2Vuc2U&offset=1", "offset", "is given beside cursor"),
        ("status=done", "status", "is 'done': expected one of pending, running"),
        ("status=completed,faild", "status", "did you mean failed?"),
        ("error_type=time_out", "error_type", "did you mean timeout?"),
        ("trace_id=123", "trace_id", "expected 32 hexadecimal digits"),
        ("start_time=yesterday", "start_time", "such as 2025-06-06T14:33:48Z"),
        ("start_time=2025-06-06", "start_time", "expected an RFC 3339 time"),
        ("end_time=2025-06-31T00:00:00Z", "end_time", "expected an RFC 3339 time"),
        ("tags=team", "tags", "expected name:value"),
        ("&".join(f"tags=a:{n}" for n in range(11)), "tags", "has 11 values: expected at most 10"),
        ("plugin=" + ",".join(map(str, range(101))), "plugin", "has 101 values: expected at most 100"),
        ("fields=id,stauts", "fields", "did you mean status?"),
        ("start_time=24h", "start_time", "is '24h': expected an RFC 3339 time"),
        ("end_time=-24", "end_time", "or how long ago, such as -24h"),
        ("min_duration=fast", "min_duration", "is 'fast': expected nanoseconds, such as 250000000, or a number with a"),
        ("max_duration=1.5", "max_duration", "such as 250ms"),
        ("min_duration=2s&max_duration=1s", "min_duration", "expected no more than max_duration, '1s'"),
        ("min_duration=", "min_duration", "is empty"),
        ("q=a&q=b", "q", "was given 2 times"),
        ("q=a&offset=1", "offset", "is given beside q"),
        ("q=" + "a" * 1001, "q", "length <= 1000"),
        ("limit=5&limit=6", "limit", "was given 2 times"),
        ("trace_id=", "trace_id", "is empty"),
        ("statu=failed", "statu", "is no parameter here; did you mean status?"),
        ("x=1", "x", "is no parameter here; known are limit, offset, cursor, plugin"),
        ("limit=5&=1", "", "is no parameter here"),
    ],
)
def test_a_wrong_parameter_is_422_and_named(bridge: BridgeProcess, query: str, field: str, message: str) -> None:
    assert message in refused(bridge.client.get(f"/api/v1/executions?{query}"), field)


def test_a_search_that_reaches_its_bound_says_so_and_goes_on(bridge: BridgeProcess) -> None:
    """Twelve records of a megabyte are within the budget of characters, seventy are not."""
    page = bridge.get("/executions", plugin="heavy", q="nowhere")
    assert (page["executions"], page["total"], page["total_relation"]) == ([], 0, "eq")
    assert (page["next_cursor"], page["scan_complete"]) == (None, True)
    seed(bridge.folder, [row(n, "vast", days=-200, input=MEGABYTE[:-2] + f'{n}"}}') for n in range(10, 80)])
    page = bridge.get("/executions", plugin="vast", q='X10"')
    assert (page["executions"], page["total"], page["total_relation"], page["scan_complete"]) == ([], 0, "gte", False)
    while not page["scan_complete"]:
        page = bridge.get("/executions", plugin="vast", q='X10"', cursor=page["next_cursor"])
    assert (ids(page), page["next_cursor"]) == (["vast-10"], None)


def test_what_was_found_comes_whole_and_page_by_page(bridge: BridgeProcess) -> None:
    first = bridge.get("/executions", q="aXx", plugin="heavy", limit=2)
    assert ids(first) == []
    first = bridge.get("/executions", q="xXx", plugin="heavy", limit=2)
    assert first["executions"] == [bridge.get("/executions/heavy-11"), bridge.get("/executions/heavy-10")]
    assert (first["total"], first["total_relation"], first["scan_complete"]) == (2, "gte", True)
    second = bridge.get("/executions", q="xXx", plugin="heavy", limit=2, cursor=first["next_cursor"], fields="id")
    assert second["executions"] == [{"id": "heavy-9"}, {"id": "heavy-8"}]


@pytest.mark.parametrize(
    "path", ["/stats", "/stats/shop", "/timeseries", "/storage/info", "/shop-1", "/shop-1/spans", "/no-such-execution"]
)
def test_no_route_of_the_history_ignores_a_parameter(bridge: BridgeProcess, path: str) -> None:
    assert "is no parameter here" in refused(bridge.client.get(f"/api/v1/executions{path}?dayz=3"), "dayz")


def test_a_cleanup_with_a_mistyped_parameter_deletes_nothing(bridge: BridgeProcess) -> None:
    refused(bridge.client.delete("/api/v1/executions/cleanup?dryrun=true"), "dryrun")


@pytest.mark.parametrize("value", ["0s", "-7d", "7", "7 days", "1.5h", "soon", "", "37000d"])
def test_a_cleanup_with_a_wrong_age_deletes_nothing(bridge: BridgeProcess, value: str) -> None:
    refused(bridge.client.delete("/api/v1/executions/cleanup", params={"older_than": value}), "older_than")


def test_a_cleanup_with_a_wrong_dry_run_deletes_nothing(bridge: BridgeProcess) -> None:
    refused(bridge.client.delete("/api/v1/executions/cleanup?dry_run=perhaps"), "dry_run")


def test_light_lists_hold_the_fields_that_were_asked_for(bridge: BridgeProcess) -> None:
    page = bridge.get("/executions", plugin="shop", limit=1, fields="status,id")
    assert page["executions"] == [{"status": "completed", "id": "shop-5"}]
    page = bridge.get("/executions", delivery_id="d-1", fields=["input", "tags"])
    assert page["executions"] == [{"input": '{"n": 1}', "tags": '{"job_id": "job-1", "team": "a"}'}]


@pytest.mark.parametrize(
    "id_", ["nobody", "%00", "%ED%A0%80", "%F0%9F%92%A9", "..", "%2e%2e", "'%20OR%201=1", "a" * 10_000]
)
@pytest.mark.parametrize("suffix", ["", "/spans"])
def test_an_unknown_execution_is_404(bridge: BridgeProcess, id_: str, suffix: str) -> None:
    answer = bridge.client.get(f"/api/v1/executions/{id_}{suffix}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert len(answer.content) < 600


def test_an_execution_without_child_spans_has_an_empty_list(bridge: BridgeProcess) -> None:
    assert bridge.get("/executions/shop-1/spans") == {"spans": []}


def test_statistics_are_the_contracts(bridge: BridgeProcess) -> None:
    stats = bridge.get("/executions/stats", days=3650, plugin="shop")
    days = stats.pop("daily_stats")
    assert stats == {
        "total_executions": 5,
        "successful_executions": 3,
        "failed_executions": 2,
        "timeout_executions": 1,
        "running_executions": 0,
        "success_rate": 60.0,
        "avg_duration": 300_000_000,
        "min_duration": 100_000_000,
        "max_duration": 500_000_000,
        "p50_duration": 305_691_246,
        "p90_duration": 500_000_000,
        "p95_duration": 500_000_000,
        "p99_duration": 500_000_000,
        "unique_plugins": 1,
        "hourly_stats": [],
        "plugin_stats": [],
        "by_error_type": [
            {
                "error_type": name,
                "total_executions": 1,
                "previous_executions": 0,
                "daily": [{"date": "2025-06-06", "total_executions": 1}],
            }
            for name in ("connection_error", "timeout")
        ],
        "previous": dict.fromkeys(FIGURES, 0),
    }
    contract = ("date", *FIGURES[:3], "success_rate", "avg_duration")
    assert [[day[name] for name in contract] for day in days] == [
        ["2025-06-06", 4, 2, 2, 50.0, 250_000_000],
        ["2025-06-07", 1, 1, 0, 100.0, 500_000_000],
    ]


def test_statistics_of_all_plugins_tell_each(bridge: BridgeProcess) -> None:
    plugins = {one["plugin_name"]: one for one in bridge.get("/executions/stats", days=3650)["plugin_stats"]}
    assert plugins["shop"]["total_executions"] == 5
    assert plugins["billing"]["max_duration"] == 800_000_000
    assert next(iter(plugins)) == "bulk"


def test_statistics_of_one_day_tell_its_hours_beside_the_day_before(bridge: BridgeProcess) -> None:
    assert bridge.post("echo", {}).status_code == 200
    assert until(lambda: bridge.get("/executions/stats", days=2, plugin="echo")["total_executions"] > 0)
    stats = bridge.get("/executions/stats", days=2, plugin="echo")
    assert sum(hour["total_executions"] for hour in stats["hourly_stats"]) == stats["total_executions"]
    assert stats["previous"]["total_executions"] == 0


JUNE_6 = {"start_time": "2025-06-06T13:30:00Z", "end_time": "2025-06-06T15:00:00Z", "plugin": "shop"}


@pytest.mark.parametrize(
    ("granularity", "totals"),
    [("1h", [0, 4]), ("30m", [0, 4, 0]), ("1m", [0] * 31 + [1] * 4 + [0] * 55), ("1d", [4]), ("45m", [4, 0])],
)
def test_a_time_series_has_every_point(bridge: BridgeProcess, granularity: str, totals: list[int]) -> None:
    series = bridge.get("/executions/timeseries", granularity=granularity, **JUNE_6)
    assert [point["total_executions"] for point in series["points"]] == totals


def test_a_point_has_all_figures(bridge: BridgeProcess) -> None:
    (_, point) = bridge.get("/executions/timeseries", **JUNE_6)["points"]
    assert set(point) == {*FIGURES, "start_time", "by_error_type"}
    assert (point["start_time"], point["failed_executions"]) == ("2025-06-06T14:00:00Z", 2)
    assert point["by_error_type"] == {"connection_error": 1, "timeout": 1}


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("granularity=often", "granularity", "is 'often': expected a duration up to 366d, such as 5m, 1h or 1d"),
        ("granularity=0s", "granularity", "expected a duration"),
        ("granularity=400d", "granularity", "expected a duration up to 366d"),
        ("granularity=1s", "granularity", "of it, more than 2000; 1m fits"),
        ("granularity=1h&start_time=2020-01-01T00:00:00Z", "granularity", "fits"),
        ("granularity=1m&start_time=1677-09-21T00:12:44Z", "granularity", "366d fits"),
        ("start_time=2025-06-06T14:00:00Z&end_time=2025-06-06T14:00:00Z", "start_time", "is not before end_time"),
        ("start_time=now", "start_time", "expected an RFC 3339 time"),
        ("plugins=shop", "plugins", "did you mean plugin?"),
    ],
)
def test_a_wrong_period_is_422_and_named(bridge: BridgeProcess, query: str, field: str, message: str) -> None:
    assert message in refused(bridge.client.get(f"/api/v1/executions/timeseries?{query}"), field)


def test_a_running_execution_counts_in_the_total_only(bridge: BridgeProcess) -> None:
    stats = bridge.get("/executions/stats", days=3650, plugin="billing")
    assert (stats["total_executions"], stats["failed_executions"], stats["running_executions"]) == (4, 2, 1)
    assert stats["success_rate"] == 33.33


def test_a_plugins_statistics_come_with_its_realtime_figures(bridge: BridgeProcess) -> None:
    """Realtime counts since this process began; the stored figures follow within moments."""
    assert [bridge.post("counted", {"by": by}).status_code for by in (1, 2, 0)] == [200, 200, 500]
    assert until(lambda: bridge.get("/executions/stats/counted", days=2)["total_executions"] == 3)
    stats = bridge.get("/executions/stats/counted", days=2)
    realtime = stats["realtime"]
    assert (stats["plugin"], stats["successful_executions"], stats["failed_executions"]) == ("counted", 2, 1)
    assert (realtime["running"], realtime["ended"]) == (0, 3)
    assert realtime["by_status"] == {"completed": 2, "failed": 1}
    assert 0 < realtime["avg_duration"] < 5 * SECOND
    assert 0 < realtime["p50_duration"] <= realtime["p95_duration"] < 5 * SECOND
    assert stats["success_rate"] == 66.67


def test_a_plugin_that_never_ran_has_zeros(bridge: BridgeProcess) -> None:
    stats = bridge.get("/executions/stats/nobody", days=1)
    assert (stats["total_executions"], stats["success_rate"], stats["daily_stats"]) == (0, 0.0, [])
    assert stats["realtime"]["ended"] == 0


@pytest.mark.parametrize("days", ["0", "3651", "week", "1.5"])
def test_days_out_of_range_are_422(bridge: BridgeProcess, days: str) -> None:
    refused(bridge.client.get("/api/v1/executions/stats", params={"days": days}), "days")


def test_the_store_tells_of_itself(bridge: BridgeProcess) -> None:
    info = bridge.get("/executions/storage/info")
    assert (info["type"], info["health"]) == ("sqlite", "healthy")
    assert info["location"] == str(bridge.folder / "data" / "executions.db")
    assert info["size"] > 12_000_000
    assert info["total_records"] >= 10_029
    assert info["oldest_record"] == "2019-12-15T14:00:00Z"
    assert info["newest_record"] >= "2025-06-07T14:05:00Z"
    assert set(info["spool"]) >= {"frames", "bytes", "oldest_age_seconds", "dropped", "delivered", "last_error"}


def test_latest_is_an_alias_of_v1(bridge: BridgeProcess) -> None:
    for path in ("/executions?plugin=shop", "/executions/shop-1", "/executions/stats?days=3650&plugin=shop"):
        assert bridge.client.get(f"/api/latest{path}").json() == bridge.client.get(f"/api/v1{path}").json()
    answer = bridge.client.post("/api/latest/webhook/echo", json={"a": 1})
    assert (answer.status_code, answer.json()) == (200, {"a": 1})


def test_cleanup_deletes_what_is_older_than_the_retention(tmp_path: Path) -> None:
    seed(tmp_path, [*SHOP, *BILLING])
    bridge = BridgeProcess(tmp_path)
    bridge.plugin("echo", ECHO)
    try:
        bridge.start()
        kept = bridge.post("echo", {}).headers["X-Execution-Id"]
        assert until(lambda: kept in ids(bridge.get("/executions", limit=1)))
        answer = bridge.client.delete("/api/v1/executions/cleanup")
        assert answer.status_code == 200
        assert answer.json()["deleted"] == 8
        assert answer.json()["freed_bytes"] >= 0
        assert ids(bridge.get("/executions")) == [kept, "billing-9"]
        assert bridge.client.delete("/api/v1/executions/cleanup").json()["deleted"] == 0
    finally:
        bridge.close()
