"""One trace from the caller through a plugin to what it calls: headers in, headers out, spans back from the worker."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{SPAN}-01"
PLUGINS = {
    "echo": "def handle(event): return [event.traceparent, event.tracestate, event.baggage]\n",
    "linked": "def handle(event): return [event.traceparent, event.tracestate, event.baggage]\n",
    "ignored": "def handle(event): return [event.traceparent, event.tracestate, event.baggage]\n",
    "uses_httpx": "import httpx\ndef handle(event): return httpx.get(event.data['url']).json()\n",
    "uses_requests": "import requests\ndef handle(event): return requests.get(event.data['url']).json()\n",
    "uses_urllib3": "import urllib3\ndef handle(event): return urllib3.request('GET', event.data['url']).json()\n",
    "uses_aiohttp": (
        "import aiohttp\n"
        "async def handle(event):\n"
        "    async with aiohttp.ClientSession() as session, session.get(event.data['url']) as answer:\n"
        "        return await answer.json()\n"
    ),
    "uses_httpx_late": "def handle(event):\n    import httpx\n    return httpx.get(event.data['url']).json()\n",
    "spans": (
        "from opentelemetry import trace\n"
        "tracer = trace.get_tracer('shop')\n"
        "def handle(event):\n"
        "    with tracer.start_as_current_span('load', attributes={'rows': 3, 'password': 'hunter2'}) as span:\n"
        "        span.add_event('half', {'n': float('nan')})\n"
        "        with tracer.start_as_current_span('parse'):\n"
        "            pass\n"
        "    return event.data\n"
    ),
    "in_thread": (
        "import threading\nimport httpx\nfrom opentelemetry import trace\n"
        "def work():\n"
        "    with trace.get_tracer('shop').start_as_current_span('threaded'):\n"
        "        pass\n"
        "def handle(event):\n"
        "    thread = threading.Thread(target=work)\n    thread.start()\n    thread.join()\n"
    ),
    "dies": (
        "import os, signal, time\nfrom opentelemetry import trace\n"
        "def handle(event):\n"
        "    with trace.get_tracer('shop').start_as_current_span('lost'):\n"
        "        with trace.get_tracer('shop').start_as_current_span('kept'):\n"
        "            pass\n"
        "        os.kill(os.getpid(), signal.SIGKILL) if event.data else time.sleep(60)\n"
    ),
    "floods": (
        "from opentelemetry import trace\n"
        "def handle(event):\n"
        "    for number in range(1200):\n"
        "        trace.get_tracer('shop').start_span(f'span {number}').end()\n"
    ),
}


OWN_PROVIDER = {
    "own_provider": (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
        "def handle(event):\n"
        "    with trace.get_tracer('shop').start_as_current_span('mine'):\n"
        "        return type(trace.get_tracer_provider()).__module__\n"
    ),
}
"""Whoever shares its worker gets that provider too."""


class Target(BaseHTTPRequestHandler):
    """Answers with the headers that came."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): text for name, text in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def started(folder: Any, plugins: dict[str, str] = PLUGINS, **environment: str) -> BridgeProcess:
    process = BridgeProcess(folder, **environment)
    for name, source in plugins.items():
        process.plugin(name, source)
    return process.start()


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = started(
        tmp_path_factory.mktemp("context"),
        BRIDGE__PLUGINS__TRACE_CONTEXT_OF='["linked=link", "ignored=ignore"]',
        BRIDGE__PLUGINS__TIMEOUT_SECONDS="5",
        OTEL_SDK_DISABLED="true",
    )
    yield process
    process.close()


def call(bridge: BridgeProcess, plugin: str, body: Any = None, **headers: str) -> httpx.Response:
    return bridge.client.post(f"/api/v1/webhook/{plugin}", json=body, headers=headers)


def record_of(bridge: BridgeProcess, answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    return found


def spans_of(bridge: BridgeProcess, answer: httpx.Response, *, count: int) -> dict[str, dict[str, Any]]:
    path = f"/executions/{answer.headers['X-Execution-Id']}/spans"
    assert until(lambda: len(bridge.get(path)["spans"]) == count), bridge.get(path)
    return {span["name"]: span for span in bridge.get(path)["spans"]}


def test_a_callers_trace_goes_on_with_its_state_and_baggage(bridge: BridgeProcess) -> None:
    answer = call(bridge, "echo", traceparent=CALLER, tracestate="vendor=1", baggage="user=ada")
    record = record_of(bridge, answer)
    assert (record["trace_id"], record["parent_span_id"]) == (TRACE, SPAN)
    own = f"00-{TRACE}-{record['span_id']}-01"
    assert answer.json() == [own, "vendor=1", "user=ada"]
    assert answer.headers["traceresponse"] == own
    assert answer.headers["Server-Timing"] == f'traceparent;desc="{own}"'


def test_repeated_state_is_one_and_a_repeated_parent_is_none(bridge: BridgeProcess) -> None:
    send = bridge.client.post
    headers = [("traceparent", CALLER), ("tracestate", "a=1"), ("tracestate", "b=2")]
    assert send("/api/v1/webhook/echo", json={}, headers=headers).json()[1] == "a=1,b=2"
    answer = send("/api/v1/webhook/echo", json={}, headers=[*headers, ("traceparent", CALLER)])
    assert answer.headers["X-Trace-Id"] != TRACE
    assert (record_of(bridge, answer)["parent_span_id"], answer.json()[1]) == ("", "")


def test_a_linked_trace_is_another_one(bridge: BridgeProcess) -> None:
    answer = call(bridge, "linked", traceparent=CALLER, tracestate="vendor=1", baggage="user=ada")
    assert answer.headers["X-Trace-Id"] != TRACE
    assert answer.json()[1:] == ["", "user=ada"]
    assert record_of(bridge, answer)["parent_span_id"] == ""


def test_an_ignored_trace_is_nothing(bridge: BridgeProcess) -> None:
    answer = call(bridge, "ignored", traceparent=CALLER, tracestate="vendor=1", baggage="user=ada")
    assert answer.headers["X-Trace-Id"] != TRACE
    assert answer.json()[1:] == ["", ""]


@pytest.mark.parametrize("library", ["httpx", "requests", "urllib3", "aiohttp", "httpx_late"])
def test_what_a_plugin_calls_gets_its_context_and_the_call_is_a_span(
    bridge: BridgeProcess, target: str, library: str
) -> None:
    caller = {"traceparent": CALLER, "tracestate": "vendor=1", "baggage": "user=ada"}
    answer = call(bridge, f"uses_{library}", {"url": target}, **caller)
    sent = answer.json()
    span = spans_of(bridge, answer, count=1)["GET"]
    assert sent["traceparent"] == f"00-{TRACE}-{span['span_id']}-01"
    assert (sent["tracestate"], sent["baggage"]) == ("vendor=1", "user=ada")
    assert span["parent_span_id"] == record_of(bridge, answer)["span_id"]
    assert (span["kind"], json.loads(span["attributes"])["http.response.status_code"]) == ("client", 200)


def test_a_plugins_own_spans_are_its_executions(bridge: BridgeProcess) -> None:
    for _ in range(2):  # the second call finds everything set up
        answer = call(bridge, "spans", {"n": 1})
        spans = spans_of(bridge, answer, count=2)
        record = record_of(bridge, answer)
        assert spans["load"]["parent_span_id"] == record["span_id"]
        assert spans["parse"]["parent_span_id"] == spans["load"]["span_id"]
        assert {span["trace_id"] for span in spans.values()} == {record["trace_id"]}
        assert json.loads(spans["load"]["attributes"]) == {"rows": 3, "password": "[redacted]"}
        assert json.loads(spans["load"]["events"])[0]["attributes"] == {"n": "NaN"}


def test_a_plugin_may_have_a_provider_of_its_own(tmp_path: Any) -> None:
    process = started(tmp_path, OWN_PROVIDER)
    try:
        answer = call(process, "own_provider")
        assert answer.json() == "opentelemetry.sdk.trace"
        assert set(spans_of(process, answer, count=1)) == {"mine"}
    finally:
        process.close()


def test_a_thread_that_the_plugin_starts_goes_on_with_its_context(bridge: BridgeProcess) -> None:
    assert set(spans_of(bridge, call(bridge, "in_thread"), count=1)) == {"threaded"}


@pytest.mark.parametrize(("is_crash", "status"), [(True, "failed"), (False, "timeout")])
def test_what_was_finished_before_the_worker_was_killed_is_kept(
    bridge: BridgeProcess, is_crash: bool, status: str
) -> None:
    answer = call(bridge, "dies", is_crash)
    assert record_of(bridge, answer)["status"] == status
    assert set(spans_of(bridge, answer, count=1)) == {"kept"}


def test_too_many_spans_are_counted(bridge: BridgeProcess) -> None:
    answer = call(bridge, "floods")
    assert json.loads(record_of(bridge, answer)["metadata"])["spans_dropped"] == 200
    path = f"/executions/{answer.headers['X-Execution-Id']}/spans"
    assert until(lambda: len(bridge.get(path)["spans"]) == 1000)


def test_a_plugin_in_a_thread_has_its_context_too(tmp_path: Any) -> None:
    process = started(tmp_path, BRIDGE__PLUGINS__ISOLATION="thread")
    try:
        answer = call(process, "spans", {"n": 1})
        assert set(spans_of(process, answer, count=2)) == {"load", "parse"}
    finally:
        process.close()
