"""configure(): nothing outside can switch the history off, and nothing of others' tracing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from otel_tracker import configure, track
from otel_tracker.tracking import get_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_tracker.provider import Configured

ENVIRONMENTS = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3",
}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def configured(exporter: InMemorySpanExporter) -> Iterator[Callable[[], Configured]]:
    """Configures when called, after the test has set the environment."""
    made: list[Configured] = []

    def make() -> Configured:
        made.append(configure(exporter, announces_start=False, service_name="shop", shutdown_on_exit=False))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


@pytest.mark.parametrize("names", [[name] for name in ENVIRONMENTS] + [list(ENVIRONMENTS)], ids=" ".join)
def test_no_variable_switches_tracking_off_or_cuts_it(
    exporter: InMemorySpanExporter,
    configured: Callable[[], Configured],
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
) -> None:
    for name in names:
        monkeypatch.setenv(name, ENVIRONMENTS[name])
    configured()
    with track("import", input="a longer text"):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.attributes
    assert span.attributes["otel_tracker.input"] == '"a longer text"'
    assert span.attributes["otel_tracker.status"] == "completed"


def test_an_unsampled_caller_is_recorded_and_stays_unsampled(
    exporter: InMemorySpanExporter, configured: Callable[[], Configured]
) -> None:
    state = TraceState([("vendor", "1")])
    caller = SpanContext(0xABC, 2, is_remote=True, trace_flags=TraceFlags(0), trace_state=state)
    context = set_span_in_context(NonRecordingSpan(caller), Context())
    configured().tracker.start("import", context=context).end()
    (span,) = exporter.get_finished_spans()
    assert span.context
    assert (span.context.trace_id, span.context.trace_flags.sampled, span.context.trace_state) == (0xABC, False, state)


def test_a_sampled_caller_and_none_at_all_are_sampled(
    exporter: InMemorySpanExporter, configured: Callable[[], Configured]
) -> None:
    caller = SpanContext(0xABC, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    tracker = configured().tracker
    tracker.start("a", context=set_span_in_context(NonRecordingSpan(caller), Context())).end()
    tracker.start("b", context=Context()).end()
    sampled = [span.context and span.context.trace_flags.sampled for span in exporter.get_finished_spans()]
    assert sampled == [True, True]


def test_the_environment_names_the_resource(
    exporter: InMemorySpanExporter, configured: Callable[[], Configured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    configured()
    with track("import"):
        pass
    resource = exporter.get_finished_spans()[0].resource.attributes
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("shop", "test")


def test_the_global_provider_stays_what_it_was(configured: Callable[[], Configured]) -> None:
    before = trace.get_tracer_provider()
    configured()
    assert trace.get_tracer_provider() is before


def test_after_shutdown_nothing_is_tracked(
    exporter: InMemorySpanExporter, configured: Callable[[], Configured]
) -> None:
    configured().shutdown()
    with track("import") as execution:
        pass
    assert (execution.id, exporter.get_finished_spans()) == ("", ())


def test_the_shutdown_of_an_earlier_configuration_leaves_the_later_one(configured: Callable[[], Configured]) -> None:
    earlier, later = configured(), configured()
    earlier.shutdown()
    assert get_tracker() is later.tracker
