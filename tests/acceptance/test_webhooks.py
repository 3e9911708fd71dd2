"""What a delivery leaves in its record and gives to its plugin besides the data; of what kind a failure is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess

from bridge_app.outcomes import answer_of
from bridge_app.plugins.calls import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
PLUGINS = {
    "echo": "def handle(event):\n    return event.data\n",
    "raises": "def handle(event):\n    raise KeyError('id')\n",
    "loops": "def handle(event):\n    while True:\n        pass\n",
    "traced": "def handle(event):\n    return event.traceparent\n",
    "meddles": (
        "def handle(event):\n"
        "    event.headers.clear()\n"
        "    event.headers['x-event'] = object()\n"
        "    return event.traceparent\n"
    ),
}


def started(folder: Any, **environment: str) -> BridgeProcess:
    process = BridgeProcess(folder, BRIDGE__PLUGINS__TIMEOUT_SECONDS="1", **environment)
    for name, source in PLUGINS.items():
        process.plugin(name, source)
    return process.start()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = started(tmp_path_factory.mktemp("webhooks"))
    yield process
    process.close()


@pytest.fixture(scope="module")
def in_threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = started(tmp_path_factory.mktemp("threads"), BRIDGE__PLUGINS__ISOLATION="thread")
    yield process
    process.close()


@pytest.fixture(scope="module")
def without_input(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = started(tmp_path_factory.mktemp("no-input"), BRIDGE__EXECUTION_TRACKING__TRACK_INPUT="false")
    yield process
    process.close()


def deliver(bridge: BridgeProcess, plugin: str, headers: Any = None, **more: Any) -> tuple[Any, dict[str, Any]]:
    """The answer, and the record that is there at once."""
    answer = bridge.client.post(f"/api/v1/webhook/{plugin}", headers=headers, **more)
    record = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    return answer.json(), record


def test_the_headers_of_a_delivery_are_in_its_records_metadata_without_secrets(served: BridgeProcess) -> None:
    sent = [
        ("Authorization", "Bearer hunter2"), ("Cookie", "sid=hunter2"), ("X-API-Key", "hunter2"),
        ("X-Gitlab-Token", "hunter2"), ("X-Hub-Signature-256", "sha256=00ff"), ("Referer", "https://ada:hunter2@shop/"),
        ("X-Twice", "a"), ("x-twice", "b"), ("User-Agent", "shop/1"),
    ]  # fmt: skip
    answer, record = deliver(served, "echo", sent, json={"a": 1})
    assert answer == {"a": 1}
    metadata = json.loads(record["metadata"])
    host = served.url.removeprefix("http://")
    kept = {name: metadata["headers"].pop(name) for name in ("accept", "accept-encoding", "connection")}
    assert all(kept.values())
    assert metadata == {
        "headers": {
            "host": host,
            "content-type": "application/json",
            "content-length": "7",
            "authorization": "[redacted]",
            "cookie": "[redacted]",
            "x-api-key": "[redacted]",
            "x-gitlab-token": "[redacted]",
            "x-hub-signature-256": "sha256=00ff",
            "referer": "https://ada:[redacted]@shop/",
            "x-twice": "a, b",
            "user-agent": "shop/1",
        }
    }


@pytest.mark.parametrize("plugin", ["raises", "loops"])
def test_a_failed_execution_has_its_headers_too(served: BridgeProcess, plugin: str) -> None:
    _, record = deliver(served, plugin, {"X-Event": "push"}, json={})
    assert json.loads(record["metadata"])["headers"]["x-event"] == "push"


@pytest.mark.parametrize("value", ["a" * 60_000, '"\\' * 30_000, "\u00e9" * 60_000], ids=["plain", "escaped", "latin"])
def test_large_headers_leave_a_valid_record(served: BridgeProcess, value: str) -> None:
    """Metadata is at most 64 KiB; what is more is cut, and says so."""
    _, record = deliver(served, "echo", [(b"x-large", value.encode("latin-1"))], json={})
    metadata = json.loads(record["metadata"])
    assert len(record["metadata"].encode()) <= 65_536
    assert metadata.get("truncated", False) or metadata["headers"]["x-large"] == value
    assert record["status"] == "completed"


def test_headers_stand_beside_the_marks_of_what_was_cut(served: BridgeProcess) -> None:
    _, record = deliver(served, "echo", {"X-Event": "push"}, json="x" * 2_000_000)
    metadata = json.loads(record["metadata"])
    assert (metadata["headers"]["x-event"], metadata["input_truncated"]) == ("push", True)


def test_without_tracking_of_input_no_header_is_kept(without_input: BridgeProcess) -> None:
    _, record = deliver(without_input, "echo", {"X-Event": "push"}, json={})
    assert (record["input"], record["metadata"]) == ("", "{}")


def test_a_plugin_in_a_thread_cannot_change_what_the_record_says_that_came(in_threads: BridgeProcess) -> None:
    _, record = deliver(in_threads, "meddles", {"X-Event": "push"}, json={})
    assert record["status"] == "completed"
    assert json.loads(record["metadata"])["headers"]["x-event"] == "push"


def test_a_plugin_gets_the_traceparent_of_its_own_execution(served: BridgeProcess) -> None:
    answer, record = deliver(served, "traced", json={})
    assert re.fullmatch(rf"00-{record['trace_id']}-{record['span_id']}-[0-9a-f]{{2}}", answer)


def test_the_traceparent_of_an_execution_goes_on_where_the_callers_was(in_threads: BridgeProcess) -> None:
    answer, record = deliver(in_threads, "traced", {"traceparent": CALLER}, json={})
    assert answer == f"{CALLER[:35]}-{record['span_id']}-00"
    assert record["parent_span_id"] == CALLER[36:52]


def test_without_tracking_there_is_no_traceparent(tmp_path: Any) -> None:
    process = started(tmp_path, BRIDGE__EXECUTION_TRACKING__ENABLED="false")
    try:
        assert process.post("traced", {}).json() == ""
    finally:
        process.close()


@pytest.mark.parametrize(("plugin", "status", "kind"), [("raises", 500, "plugin-failed"), ("loops", 504, "timeout")])
def test_a_failure_of_the_plugin_has_a_kind_of_its_own(
    served: BridgeProcess, plugin: str, status: int, kind: str
) -> None:
    answer, record = deliver(served, plugin, json={})
    assert (answer["status"], answer["type"]) == (status, f"/problems/{kind}")
    assert answer["error_type"] == record["error_type"]


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        (Outcome(OutcomeKind.FAILED, error="no", error_type="plugin_exited"), 500, "plugin-failed"),
        (Outcome(OutcomeKind.FAILED, error="a bug of ours", error_type="unknown_error"), 500, "internal-error"),
        (Outcome(OutcomeKind.UNAVAILABLE, error="no", error_type="plugin_broken"), 503, "plugin-broken"),
        (Outcome(OutcomeKind.OVERLOADED, error="no", error_type="overloaded"), 503, "unavailable"),
        (Outcome(OutcomeKind.CANCELED, error="no", error_type="interrupted"), 503, "unavailable"),
        (Outcome(OutcomeKind.NOT_ALLOWED, error="no", allowed=("GET",)), 405, "method-not-allowed"),
        (Outcome(OutcomeKind.NOT_FOUND, error="no", error_type="not_found"), 404, "not-found"),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Outcome) else "",
)
def test_each_way_not_to_answer_has_its_kind(outcome: Outcome, status: int, kind: str) -> None:
    answer = answer_of(outcome, plugin="shop")
    assert (answer.status_code, json.loads(answer.content)["type"]) == (status, f"/problems/{kind}")
