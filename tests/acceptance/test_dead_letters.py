"""`webhook-bridge destinations retry`: what a destination refused for good is sent again once the reason is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from bridge_process import BridgeProcess, until
from otlp_receiver import HttpReceiver, partial_success, respond

from bridge_app.cli.root import run
from exporters.dead_frames import DeadFrames

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
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: HttpReceiver) -> Iterator[list[str]]:
    """The traces of executions that a running bridge could not forward."""
    monkeypatch.chdir(tmp_path)
    bridge = BridgeProcess(tmp_path)
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    destination = {"name": "main", "endpoint": receiver.url}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"forwarding": {"destinations": [destination]}}))
    bridge.start()
    traces = []
    for number in range(COUNT):  # one at a time, so that each is a request of its own
        traces.append(bridge.post("echo", {"n": number}).headers["X-Trace-Id"])
        assert until(lambda: bridge.get("/destinations")["destinations"][0]["dead_letters"] == len(traces), seconds=40)
    yield traces
    bridge.close()


def told(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict[str, Any]]]:
    status = run(["destinations", "retry", "main", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def letters(folder: Path) -> int:
    return len(list(folder.glob("data/forward/main/*/dead/*.frame")))


def test_what_is_taken_arrives_under_its_own_trace(
    refused: list[str], receiver: HttpReceiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = told(capsys, "--dry-run")
    assert (status, [(row["spans"], row["outcome"]) for row in rows]) == (0, [(1, "waiting")] * COUNT)
    assert letters(tmp_path) == COUNT

    receiver.fault = None
    assert run(["destinations", "retry", "main"]) == 0
    assert capsys.readouterr().out == "main took 3 spans of 3 requests\n"
    assert [span.trace_id.hex() for span in receiver.spans] == refused
    resource = receiver.requests[0].resource_spans[0].resource
    names = {one.key: one.value.string_value for one in resource.attributes}
    assert names["service.name"] == "webhook-bridge"
    assert names["service.instance.id"]
    assert letters(tmp_path) == 0
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
