"""One example of each answer, for the OpenAPI document; built by the same code as the answers themselves."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge_app.accounting import Accounting
from bridge_app.api import shapes
from bridge_app.api.rendering import execution, plugin_stats, span, storage_state
from bridge_app.api.waterfalls import trace
from bridge_app.store_watch import Seen
from otel_tracker.query import LastCleanup, PruneResult, TraceRows
from otel_tracker.record import ExecutionRecord, SpanRecord, Status, StorageInfo
from otel_tracker.stats import (
    DailyStats,
    ErrorDay,
    ErrorTrend,
    ExecutionStats,
    Figures,
    PluginFigures,
    TimePoint,
    TimeSeries,
)

_START: Final = 1_749_220_428_000_000_000
_SECOND: Final = 1_000_000_000
_ID: Final = "0197457e-b3e0-7cc1-9e0a-3f1f2d6b8a55"
_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_SPOOL: Final = {
    "frames": 0,
    "bytes": 0,
    "oldest_age_seconds": 0.0,
    "dropped": {},
    "corrupt_frames": 0,
    "rejected": 0,
    "delivered": 1000,
    "last_error": "",
}

_RECORD: Final = ExecutionRecord(
    id=_ID,
    plugin_name="my_plugin",
    http_method="POST",
    status=Status.COMPLETED,
    start_time=_START,
    end_time=_START + _SECOND,
    duration=_SECOND,
    input='{"key": "value"}',
    output='{"result": "success"}',
    trace_id=_TRACE,
    span_id="00f067aa0ba902b7",
    delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958",
    user_agent="Mozilla/5.0",
    remote_ip="192.168.1.100",
    tags='{"job_id": "job-123"}',
    metadata='{"priority": 1}',
    logs='[{"stream":"log","level":"INFO","text":"handling POST"}]',
    instance_id="0197457e-9a10-7d3f-8a55-6b1f2d0c4e77",
    created_at=_START,
    updated_at=_START + _SECOND,
)
EXECUTION: Final = execution(_RECORD)
PAGE: Final = shapes.ExecutionPage(
    executions=[EXECUTION],
    total=1000,
    total_relation="eq",
    limit=1,
    offset=0,
    next_cursor="MTc0OTIyMDQyODAwMDAwMDAwMDowMTk3NDU3ZQ",
    scan_complete=True,
)
_FIGURES: Final = {
    "total_executions": 100,
    "successful_executions": 95,
    "failed_executions": 5,
    "success_rate": 95.0,
    "avg_duration": 500_000_000,
    "min_duration": 100_000_000,
    "max_duration": 2_000_000_000,
    "p50_duration": 450_000_000,
    "p90_duration": 900_000_000,
    "p95_duration": 1_200_000_000,
    "p99_duration": 1_900_000_000,
}
STATS: Final = ExecutionStats(
    total_executions=1000,
    successful_executions=950,
    failed_executions=50,
    timeout_executions=5,
    success_rate=95.0,
    avg_duration=500_000_000,
    min_duration=100_000_000,
    max_duration=2_000_000_000,
    p50_duration=450_000_000,
    p90_duration=900_000_000,
    p95_duration=1_200_000_000,
    p99_duration=1_900_000_000,
    unique_plugins=10,
    daily_stats=[msgspec.convert({**_FIGURES, "date": "2025-06-06"}, DailyStats)],
    plugin_stats=[msgspec.convert({**_FIGURES, "plugin_name": "my_plugin"}, PluginFigures)],
    by_error_type=[
        ErrorTrend(
            error_type="timeout",
            total_executions=5,
            previous_executions=2,
            daily=[ErrorDay(date="2025-06-06", total_executions=5)],
        )
    ],
    previous=msgspec.convert(_FIGURES, Figures),
)
SERIES: Final = TimeSeries(
    granularity_seconds=3600,
    points=[
        msgspec.convert({**_FIGURES, "start_time": "2025-06-06T14:00:00Z", "by_error_type": {"timeout": 5}}, TimePoint)
    ],
)
PLUGIN_STATS: Final = plugin_stats(
    "my_plugin",
    STATS,
    {
        "running": 1,
        "ended": 100,
        "by_status": {"completed": 95, "failed": 5},
        "avg_duration": 500_000_000,
        "p50_duration": 450_000_000,
        "p95_duration": 1_200_000_000,
    },
)
_CHILD: Final = SpanRecord(
    execution_id=_ID,
    trace_id=_TRACE,
    span_id="b7ad6b7169203331",
    parent_span_id="00f067aa0ba902b7",
    name="GET",
    kind="client",
    start_time=_START,
    end_time=_START + _SECOND // 2,
    attributes='{"http.request.method": "GET"}',
)
SPANS: Final = shapes.SpanList(spans=[span(_CHILD)])
TRACE: Final = trace(
    TraceRows(executions=[_RECORD], spans=[_CHILD], is_whole=True),
    templates={"jaeger": "http://localhost:16686/trace/{trace_id}"},
    now=_START,
)
_ACCOUNTING: Final = Accounting(started=1002, stored=1000, spooled=0, in_flight=1, dropped={"spool_full": 1})
CLEANUP: Final = PruneResult(deleted=120, removed_bytes=432_640, freed_bytes=524_288)
STORAGE: Final = storage_state(
    StorageInfo(
        type="sqlite",
        location="/srv/bridge/data/executions.db",
        size=1_048_576,
        total_records=1000,
        oldest_record=_START - 86_400 * _SECOND,
        newest_record=_START,
        health="healthy",
        free_bytes=40_000_000_000,
    ),
    _SPOOL,
    seen=Seen(
        tables={"executions": 786_432, "execution_payloads": 262_144},
        growth_per_day=524_288,
    ),
    last_cleanup=LastCleanup(time=_START, deleted=CLEANUP.deleted, freed_bytes=CLEANUP.freed_bytes),
    accounting=_ACCOUNTING,
)
PLUGIN: Final = shapes.Plugin(
    name="my_plugin",
    path="/srv/bridge/plugins/my_plugin.py",
    methods=["POST"],
    state="ready",
    error="",
    loaded_at="2025-06-06T14:33:40Z",
    doc="Answers with what it was given.",
    note="",
)
PLUGINS: Final = shapes.PluginList(plugins=[PLUGIN])
HEALTH: Final = shapes.Health(
    status="ok", version="0.1.0", webhooks="ok", storage="ok", spool=STORAGE.spool, accounting=_ACCOUNTING
)
LIVENESS: Final = shapes.Liveness()
DESTINATIONS: Final = shapes.DestinationList(
    destinations=[
        shapes.Destination(
            name="jaeger",
            protocol="otlp-http",
            endpoint="http://localhost:4318/v1/traces",
            state="ok",
            last_error="",
            sent=1000,
            rejected=0,
            dead_letters=0,
            dropped={},
            waiting_spans=0,
            waiting_bytes=0,
            waiting_seconds=0.0,
        )
    ]
)
