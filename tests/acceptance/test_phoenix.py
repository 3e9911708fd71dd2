"""Arize Phoenix shows what ran: forwarded over HTTP and gRPC, and asked for again through Phoenix's own API.

Phoenix is a package of its own, with half a gigabyte of others: `make phoenix` installs it beside the project and runs
this. Without it, that is without `PHOENIX` (the path of its command) or a `phoenix` on the PATH, this is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from bridge_process import BridgeProcess
from bridge_process import until as until_within

from benchmarks.own_servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

until = partial(until_within, seconds=60)
COMMAND = os.environ.get("PHOENIX") or shutil.which("phoenix")
PLUGIN = """
from opentelemetry import trace

def handle(event):
    with trace.get_tracer("orders").start_as_current_span("reserve"):
        if event.data.get("fail"):
            raise ValueError("nothing left")
    return {"reserved": event.data["count"]}
"""
pytestmark = [
    pytest.mark.skipif(not COMMAND, reason="PHOENIX IS NOT INSTALLED: `make phoenix` installs it and runs this"),
    pytest.mark.timeout(300),
]


class Phoenix:
    """Its server, with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.http, self.grpc = free_port(), free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http}", timeout=30)
        own = {
            "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(self.http), "PHOENIX_GRPC_PORT": str(self.grpc),
            "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_TELEMETRY_ENABLED": "false",
        }  # fmt: skip
        with (folder / "phoenix.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(COMMAND), "serve"], env={**os.environ, **own}, stdout=log, stderr=log, cwd=folder
            )
        assert until_within(self._answers, seconds=120), (folder / "phoenix.log").read_text()

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def spans(self, trace_id: str) -> dict[str, dict[str, Any]]:
        """Of a trace, by name."""
        answer = self.client.get("/v1/projects/default/spans", params={"limit": 1000})
        found = answer.json()["data"] if answer.status_code == 200 else []
        return {one["name"]: one for one in found if one["context"]["trace_id"] == trace_id}

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.client.close()


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    made = Phoenix(tmp_path_factory.mktemp("phoenix"))
    yield made
    made.close()


@pytest.mark.parametrize("protocol", ["otlp-http", "otlp-grpc"])
def test_phoenix_shows_an_execution_under_its_trace_id(bridge: BridgeProcess, phoenix: Phoenix, protocol: str) -> None:
    """With input, output, the plugin's own span below it, and a failure with its exception."""
    place = f"http://127.0.0.1:{phoenix.grpc if protocol == 'otlp-grpc' else f'{phoenix.http}/v1/traces'}"
    destination = {"name": "phoenix", "protocol": protocol, "endpoint": place, "payload": "full", "aliases": True}
    (bridge.folder / "config.yaml").write_text(yaml.safe_dump({"forwarding": {"destinations": [destination]}}))
    bridge.plugin("order", PLUGIN)
    bridge.start()
    good = bridge.post("order", {"count": 3, "password": "hunter2"})
    bad = bridge.post("order", {"count": 3, "fail": True})
    assert (good.status_code, bad.status_code) == (200, 500)
    trace_id = good.headers["x-trace-id"]
    assert until(lambda: phoenix.spans(trace_id).keys() == {"execute order", "reserve"})
    shown = phoenix.spans(trace_id)
    execution, step = shown["execute order"], shown["reserve"]
    assert execution["attributes"]["input.value"] == '{"count":3,"password":"[redacted]"}'
    assert execution["attributes"]["output.value"] == '{"reserved":3}'
    assert execution["attributes"]["otel_tracker.execution.id"] == good.headers["x-execution-id"]
    assert (execution["parent_id"], step["parent_id"]) == (None, execution["context"]["span_id"])
    assert until(lambda: len(phoenix.spans(bad.headers["x-trace-id"])) == 2)
    failed = phoenix.spans(bad.headers["x-trace-id"])["execute order"]
    assert (failed["status_code"], failed["status_message"]) == ("ERROR", "ValueError: nothing left")
    (event,) = failed["events"]
    assert event["name"] == "exception"
    assert event["attributes"]["exception.message"] == "ValueError: nothing left"
    assert until(lambda: bridge.get("/destinations")["destinations"][0]["sent"] == 4)  # it is told once a second
    told = bridge.get("/destinations")["destinations"][0]
    assert (told["sent"], told["rejected"], told["dead_letters"], told["dropped"]) == (4, 0, 0, {})
