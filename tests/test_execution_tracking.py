"""The worked example: a webhook comes in, a plugin runs, and its execution is on record. Read this one first.

A real server in a process of its own, real HTTP, a real database file; nothing is mocked.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge_process import BridgeProcess

GREET = """
from webhook_bridge.plugin import BasePlugin

class Plugin(BasePlugin):
    def handle(self):
        self.logger.info("greeting %s", self.get_data("name"))
        return {"hello": self.get_data("name")}
"""
FAIL = "def handle(event):\n    raise ConnectionRefusedError('the shop is closed')\n"
HANG = "def handle(event):\n    while True: pass\n"


def listed(bridge: BridgeProcess, execution_id: str) -> dict[str, Any]:
    """The record as the history's list shows it, within 500 ms."""
    deadline = time.monotonic() + 0.5
    while True:
        for record in bridge.get("/executions")["executions"]:
            if record["id"] == execution_id and record["end_time"]:
                found: dict[str, Any] = record
                return found
        assert time.monotonic() < deadline, "not in the list within 500 ms"
        time.sleep(0.02)


def test_a_webhook_runs_a_plugin_and_its_execution_is_on_record(bridge: BridgeProcess) -> None:
    """The whole life of an execution, seen from outside."""
    bridge.plugin("greet", GREET)
    bridge.start()

    answer = bridge.client.post(
        "/api/v1/webhook/greet",
        json={"name": "Ada", "password": "hunter2"},
        headers={"User-Agent": "shop/1.0", "X-GitHub-Delivery": "72d3162e"},
    )

    assert answer.status_code == 200
    assert answer.json() == {"hello": "Ada"}
    assert answer.headers["X-Execution-Durable"] == "disk"
    execution_id = answer.headers["X-Execution-Id"]

    record = bridge.get(f"/executions/{execution_id}")
    assert record["plugin_name"] == "greet"
    assert record["http_method"] == "POST"
    assert record["status"] == "completed"
    assert json.loads(record["input"]) == {"name": "Ada", "password": "[redacted]"}
    assert json.loads(record["output"]) == {"hello": "Ada"}
    assert record["error"] == record["error_type"] == ""
    assert 0 < record["duration"] < 5_000_000_000
    assert record["trace_id"] == answer.headers["X-Trace-Id"]
    assert record["user_agent"] == "shop/1.0"
    assert record["remote_ip"] == "127.0.0.1"
    assert record["delivery_id"] == "72d3162e"
    assert json.loads(record["logs"]) == [{"stream": "log", "level": "INFO", "text": "greeting Ada"}]

    assert listed(bridge, execution_id) == record

    stats = bridge.get("/executions/stats", days=1)
    assert (stats["total_executions"], stats["successful_executions"], stats["success_rate"]) == (1, 1, 100.0)
    assert bridge.get("/executions/storage/info")["total_records"] == 1

    log = bridge.log
    assert "Execution storage initialized successfully" in log
    assert "Execution cleanup worker started" in log
    assert bridge.stop() == 0


def test_a_failing_plugin_leaves_a_record_that_says_why(bridge: BridgeProcess) -> None:
    """The error's type comes from the exception's class."""
    bridge.plugin("fail", FAIL)
    bridge.start()

    answer = bridge.post("fail", {})

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    record = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    assert (record["status"], record["error_type"]) == ("failed", "connection_error")
    assert "the shop is closed" in record["error"]
    assert "ConnectionRefusedError" in record["traceback"]


def test_a_plugin_that_hangs_is_killed_and_recorded_as_timeout(bridge: BridgeProcess) -> None:
    """The worker dies, the next call is served."""
    bridge._environment["BRIDGE__PLUGINS__TIMEOUT_SECONDS"] = "0.5"
    bridge.plugin("hang", HANG)
    bridge.plugin("greet", GREET)
    bridge.start()

    answer = bridge.post("hang", {})

    assert answer.status_code == 504
    record = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    assert (record["status"], record["error_type"]) == ("timeout", "timeout")
    assert bridge.post("greet", {"name": "Bob"}).json() == {"hello": "Bob"}


def test_a_caller_cannot_switch_the_history_off(bridge: BridgeProcess) -> None:
    """An unsampled traceparent, and every variable of the environment that turns tracing off."""
    bridge._environment |= {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3",
    }
    bridge.plugin("greet", GREET)
    bridge.start()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    answer = bridge.client.post(
        "/api/v1/webhook/greet", json={"name": "Eve"}, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00"}
    )

    record = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    assert record["status"] == "completed"
    assert json.loads(record["input"]) == {"name": "Eve"}
    assert record["trace_id"] == trace_id
    assert record["parent_span_id"] == "00f067aa0ba902b7"
