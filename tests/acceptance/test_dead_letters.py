"""`webhook-bridge destinations retry`: what a destination refused for good is sent again once the reason is gone."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from bridge_process import BridgeProcess, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_receiver import HttpReceiver, partial_success, respond

from bridge_app.cli.root import run
from exporters.dead_frames import DeadFrames
from exporters.otlp.messages import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

COUNT = 3


def unauthorized(handler: BaseHTTPRequestHandler) -> bool:
    return respond(handler, 401, b"who are you?", kind="text/plain")


def unavailable(handler: BaseHTTPRequestHandler) -> bool:
    return respond(handler, 503, b"")


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver()
    made.fault = unauthorized
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: HttpReceiver) -> Path:
    """Of a bridge whose one destination is the receiver; the current one."""
    monkeypatch.chdir(tmp_path)
    destination = {"name": "main", "endpoint": receiver.url}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"forwarding": {"destinations": [destination]}}))
    return tmp_path


@pytest.fixture
def refused(folder: Path) -> None:
    """What a dead bridge left: three requests of a span each."""
    dead = folder / "data" / "forward" / "main" / "gone" / "dead"
    dead.parent.mkdir(parents=True)
    for number in range(1, COUNT + 1):
        request = ExportTraceServiceRequest()
        made = request.resource_spans.add()
        made.resource.attributes.add(key="service.instance.id").value.string_value = "gone"
        made.scope_spans.add().spans.add(
            trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8, name="execute echo"
        )
        DeadFrames(dead).bury(as_json(request), reason="http_401")


def told(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict[str, Any]]]:
    status = run(["destinations", "retry", "main", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def letters(folder: Path) -> int:
    return len(list(folder.glob("data/forward/main/*/dead/*.frame")))


def test_what_a_bridge_could_not_forward_arrives_under_its_own_trace(
    folder: Path, receiver: HttpReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it runs."""
    bridge = BridgeProcess(folder)
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    with contextlib.closing(bridge.start()):
        trace = bridge.post("echo", {}).headers["X-Trace-Id"]
        assert until(lambda: bridge.get("/destinations")["destinations"][0]["dead_letters"] == 1, seconds=40)
        status, (row,) = told(capsys, "--dry-run")
        assert (status, row["spans"], row["outcome"], letters(folder)) == (0, 1, "waiting", 1)

        receiver.fault = None
        assert run(["destinations", "retry", "main"]) == 0
        assert capsys.readouterr().out == "main took 1 span of 1 request\n"
        assert [span.trace_id.hex() for span in receiver.spans] == [trace]
        resource = receiver.requests[0].resource_spans[0].resource
        names = {one.key: one.value.string_value for one in resource.attributes}
        assert names["service.name"] == "webhook-bridge"
        assert names["service.instance.id"]
        assert letters(folder) == 0
        assert run(["destinations", "retry", "main"]) == 0
        assert capsys.readouterr().out == "main has refused nothing that is still kept\n"


@pytest.mark.usefixtures("refused")
def test_what_is_refused_again_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["destinations", "retry", "main"]) == 1
    assert capsys.readouterr().out.count("HTTP 401 Unauthorized: who are you?") == COUNT
    assert letters(tmp_path) == COUNT


@pytest.mark.usefixtures("refused")
def test_a_destination_that_does_not_answer_ends_it(
    receiver: HttpReceiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.fault, receiver.seen = unavailable, 0
    assert run(["destinations", "retry", "main"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "main does not answer now: the rest waits for another try"
    assert (receiver.seen, letters(tmp_path)) == (1, COUNT)


@pytest.mark.usefixtures("refused")
def test_spans_that_it_rejects_of_a_request_are_told(
    receiver: HttpReceiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.fault = lambda handler: respond(handler, 200, partial_success(1, "too old"))
    status, rows = told(capsys)
    assert (status, [(row["outcome"], row["rejected_spans"]) for row in rows]) == (0, [("taken", 1)] * COUNT)
    assert "too old" in rows[0]["answer"]
    assert letters(tmp_path) == 0


@pytest.mark.usefixtures("refused")
def test_a_file_that_holds_no_request_stays_and_stops_no_other(
    receiver: HttpReceiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = tmp_path.glob("data/forward/main/*/dead")
    DeadFrames(folder).bury(b'{"resourceSpans":[{"scopeSpans":7}]}', reason="odd")
    receiver.fault = None
    status, rows = told(capsys)
    assert (status, [row["outcome"] for row in rows]) == (1, ["taken"] * COUNT + ["refused"])
    assert letters(tmp_path) == 1


@pytest.mark.usefixtures("refused")
def test_a_destination_that_is_not_configured_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["destinations", "retry", "other"]) == 2
    assert capsys.readouterr().err == "webhook-bridge: there is no destination 'other': configured are main\n"
