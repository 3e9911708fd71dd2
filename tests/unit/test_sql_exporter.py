"""ExecutionRecordExporter: a plain SpanExporter with any provider, and the destination of a spool."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from exporters.drain import Delivered
from exporters.sql import ExecutionRecordExporter, decode_frame
from otel_tracker import ExecutionRecord, Status
from otel_tracker.errors import StorageUnavailableError
from otel_tracker.failsafe import failsafe
from otel_tracker.query import PageRequest
from otel_tracker.storage import open_store
from otel_tracker.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_tracker.ports import ExecutionStore

PROGRAM = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

class Configurator(_OTelSDKConfigurator):  # what opentelemetry-distro has
    pass

Configurator().configure()

from otel_tracker import track

@track
def add(a, b):
    return a + b

add(1, b=2)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def store(url: str) -> Iterator[ExecutionStore]:
    opened = open_store(url)
    yield opened
    opened.close()


def span(name: str = "job", value: object = 1) -> ReadableSpan:
    """An ended execution."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Tracker(provider.get_tracer("test")).start(name, input=value).end()
    return exporter.get_finished_spans()[0]


def stored(store: ExecutionStore) -> list[ExecutionRecord]:
    return store.page(PageRequest()).executions


@pytest.mark.parametrize("processor", [SimpleSpanProcessor, BatchSpanProcessor])
def test_with_a_stock_provider_executions_are_stored_and_other_spans_are_not(
    store: ExecutionStore, processor: Callable[[ExecutionRecordExporter], SpanProcessor]
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor(ExecutionRecordExporter(store)))
    tracer = provider.get_tracer("shop")
    execution = Tracker(tracer).start("job", input={"a": 1})
    execution.set_output("done")
    execution.end(error=TimeoutError("slow"))
    tracer.start_span("other").end()
    provider.shutdown()
    (record,) = stored(store)
    assert (record.id, record.plugin_name, record.input) == (execution.id, "job", '{"a":1}')
    assert (record.output, record.status, record.error) == ('"done"', Status.TIMEOUT, "slow")


def test_it_is_found_by_the_name_that_the_environment_gives(url: str) -> None:
    """The SDK configures itself in a program that only tracks; at its end the history is written."""
    environment = {
        "OTEL_TRACES_EXPORTER": "execution_record",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_TRACKER_DATABASE_URL": url,
    }
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    store = open_store(url)
    (record,) = stored(store)
    store.close()
    assert (record.plugin_name, record.input, record.output) == ("add", '{"a":1,"b":2}', "3")


def test_without_a_store_exporting_fails_and_is_counted() -> None:
    before = failsafe.failures["exporter.export"]
    assert ExecutionRecordExporter().export([span()]) is SpanExportResult.FAILURE
    assert failsafe.failures["exporter.export"] == before + 1


def test_what_is_no_execution_succeeds_without_a_store() -> None:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("shop").start_span("other").end()
    assert ExecutionRecordExporter().export(exporter.get_finished_spans()) is SpanExportResult.SUCCESS


def test_a_store_that_it_opened_itself_is_closed_by_shutdown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACKER_DATABASE_URL", url)
    exporter = ExecutionRecordExporter()
    assert exporter.export([span()]) is SpanExportResult.SUCCESS
    opened = exporter._opened
    assert opened
    exporter.shutdown()
    with pytest.raises(StorageUnavailableError):
        opened.ping()


def test_a_store_that_it_was_given_stays_open(store: ExecutionStore) -> None:
    exporter = ExecutionRecordExporter(store)
    exporter.export([span()])
    exporter.shutdown()
    assert len(stored(store)) == 1


def test_a_frame_is_the_record_and_delivered_it_is_in_the_store(store: ExecutionStore) -> None:
    exporter = ExecutionRecordExporter(store)
    frame = exporter.encode(span())
    assert frame
    assert frame.record == decode_frame(frame.data)
    assert stored(store) == []
    assert exporter.deliver([frame.data]) == Delivered()
    assert stored(store) == [frame.record]


def test_frames_that_hold_no_row_are_rejected_by_their_place(store: ExecutionStore) -> None:
    exporter = ExecutionRecordExporter(store)
    frame = exporter.encode(span())
    assert frame
    rejected = exporter.deliver([b"garbage", frame.data, msgspec.msgpack.encode(["x", 1])]).rejected
    assert [index for index, _ in rejected] == [0, 2]
    assert len(stored(store)) == 1


def test_without_a_store_frames_are_to_be_kept() -> None:
    exporter = ExecutionRecordExporter()
    frame = exporter.encode(span())
    assert frame
    with pytest.raises(StorageUnavailableError):
        exporter.deliver([frame.data])


def test_text_that_has_no_utf_8_costs_its_characters_and_not_the_record(store: ExecutionStore) -> None:
    exporter = ExecutionRecordExporter(store)
    frame = exporter.encode(span("a\ud800"))
    assert frame
    assert exporter.deliver([frame.data]) == Delivered()
    assert stored(store)[0].plugin_name.startswith("a\ufffd")
