"""Every way in which a request can be wrong, against real servers: bodies, methods, tokens, nonsense."""

from __future__ import annotations

import base64
import json
import re
import socket
import string
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from bridge_process import BridgeProcess, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ECHO = "def handle(event):\n    return event.data\n"
GET_ONLY = """
from bridge_app.plugin import BasePlugin

class Plugin(BasePlugin):
    \"\"\"Only reads.\"\"\"
    def get(self):
        return {"got": self.data}
"""
TOKEN = "s3cret-token"
JSON = {"Content-Type": "application/json"}
LIMIT = 100_000


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path_factory.mktemp("edges"), BRIDGE__SERVER__MAX_BODY_BYTES=str(LIMIT))
    process.plugin("echo", ECHO)
    process.plugin("get_only", GET_ONLY)
    process.plugin("broken", "import no_such_module\n")
    yield process.start()
    process.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """A bridge that wants a token; a directory stands where its database should be."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "data" / "executions.db").mkdir(parents=True)
    process = BridgeProcess(folder, BRIDGE__AUTH__TOKEN=TOKEN)
    process.plugin("echo", ECHO)
    yield process.start()
    process.kill()  # a stop would wait for the store
    process.close()


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path_factory.mktemp("untracked"), BRIDGE__EXECUTION_TRACKING__ENABLED="false")
    process.plugin("echo", ECHO)
    yield process.start()
    process.close()


def problem(answer: Any) -> tuple[int, str]:
    """Status and kind of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) <= {"type", "title", "status", "detail", "errors", "error_type"}
    assert document["status"] == answer.status_code
    assert document["detail"]
    assert "Traceback" not in answer.text
    return answer.status_code, document["type"].removeprefix("/problems/")


def send(bridge: BridgeProcess, body: Any, plugin: str = "echo", **headers: str) -> Any:
    return bridge.client.post(f"/api/v1/webhook/{plugin}", content=body, headers=JSON | headers)


def send_too_much(bridge: BridgeProcess, body: Any) -> Any:
    """On a connection of its own, for the server ends one whose body it does not read."""
    return httpx.post(f"{bridge.url}/api/v1/webhook/echo", content=body, headers=JSON)


@pytest.mark.parametrize(
    "body",
    [b"{", b"{'a': 1}", b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"[1,]", b"01", b" ", b"\xef\xbb\xbf", b"\xff\xfe",
     b'{"a": "\xff"}', b'"\xed\xa0\x80"', b'{"a": 1} {"b": 2}', b'{"a": 1e999}', b"9" * 5000, b"[" * 65 + b"]" * 65,
     b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 50_000, b"\x00"],
)  # fmt: skip
def test_what_is_not_json_is_400(bridge: BridgeProcess, body: bytes) -> None:
    assert problem(send(bridge, body)) == (400, "invalid-body")


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        (b'"\\u0000"', "\x00"),
        (b"null", None),
        (b"", {}),
    ],
)
def test_json_is_read_as_it_is(bridge: BridgeProcess, body: bytes, data: Any) -> None:
    answer = send(bridge, body)
    assert (answer.status_code, answer.json()) == (200, data)


def test_a_body_without_content_is_the_query(bridge: BridgeProcess) -> None:
    answer = bridge.client.get("/api/v1/webhook/echo?a=1&b=&a=2")
    assert answer.json() == {"a": ["1", "2"], "b": ""}


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("image/png", 415), ("application/json; charset=utf-16", 415), ("multipart/form-data", 400)],
)
def test_what_cannot_be_read_is_refused(bridge: BridgeProcess, content_type: str, status: int) -> None:
    answer = send(bridge, b"abc", **{"Content-Type": content_type})
    assert problem(answer)[0] == status


def test_a_body_at_the_limit_is_taken_and_one_beyond_is_413(bridge: BridgeProcess) -> None:
    fits = b'"' + b"a" * (LIMIT - 2) + b'"'
    assert send(bridge, fits).status_code == 200
    assert problem(send_too_much(bridge, fits + b" ")) == (413, "payload-too-large")
    assert problem(send_too_much(bridge, iter([fits, b" "]))) == (413, "payload-too-large")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("POST /api/v1/webhook/echo", 413), ("POST /api/v1/webhook/nobody", 404), ("PUT /api/v1/executions", 405)],
)
def test_an_answer_that_did_not_wait_for_the_body_says_that_the_connection_ends(
    bridge: BridgeProcess, request_line: str, status: int
) -> None:
    address = (bridge.client.base_url.host, bridge.client.base_url.port or 0)
    with socket.create_connection(address, timeout=10) as connection:
        head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        answer = connection.makefile("rb").read()
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert "connection: close" in head.split("\r\n")
    assert json.loads(body)["status"] == status


def test_refused_bodies_leave_no_execution(bridge: BridgeProcess) -> None:
    before = bridge.get("/executions/stats/echo")["realtime"]["ended"]
    send(bridge, b"{")
    send_too_much(bridge, b"a" * (LIMIT + 1))
    assert bridge.get("/executions/stats/echo")["realtime"]["ended"] == before


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/v1/executions", "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/v1/executions/some-id", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/v1/plugins", "GET, HEAD, OPTIONS"),
        ("PATCH", "/health", "GET, HEAD, OPTIONS"),
        ("POST", "/schema", "GET, HEAD, OPTIONS"),
        ("HEAD", "/api/v1/webhook/echo", "DELETE, GET, OPTIONS, PATCH, POST, PUT"),
        ("POST", "/api/v1/webhook/get_only", "GET"),
    ],
)
def test_a_method_that_is_not_served_is_405_with_allow(
    bridge: BridgeProcess, method: str, path: str, allow: str
) -> None:
    answer = bridge.client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
    if method != "HEAD":
        assert problem(answer) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    "path",
    ["/api/v1/executions", "/api/v1/executions/stats", "/api/v1/executions/storage/info", "/api/v1/plugins",
     "/api/v1/plugins/echo", "/health", "/health/live", "/metrics", "/schema", "/schema/openapi.json",
     "/schema/openapi.yaml", "/schema/viewer/start.js"],
)  # fmt: skip
def test_head_is_get_without_the_body(bridge: BridgeProcess, path: str) -> None:
    # What earlier tests sent is listed by then, and does not come in between.
    assert until(lambda: bridge.client.get("/health").json()["spool"]["frames"] == 0)
    head = bridge.client.head(path)
    got = bridge.client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers.get("content-type", got.headers["content-type"]) == got.headers["content-type"]
    if path not in ("/metrics", "/health", "/api/v1/executions/storage/info"):  # these change by being asked
        assert head.headers["content-length"] == str(len(got.content))


def test_options_names_the_methods(bridge: BridgeProcess) -> None:
    answer = bridge.client.options("/api/v1/executions")
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/api", "/api/v1", "/api/v2/executions", "/api/v1/executions/a/b", "/api/v1/webhook",
     "/schema/nowhere", "/schema/viewer/nowhere.js", "/schema/viewer/../../app.py", "/schema/viewer/%2e%2e/viewer.py",
     "/favicon.ico", "/api/v1/webhook/a/b", "/%00", "/%ff"],
)  # fmt: skip
def test_an_unknown_route_is_404(bridge: BridgeProcess, path: str) -> None:
    assert problem(bridge.client.get(path)) == (404, "not-found")


@pytest.mark.parametrize("path", ["/nowhere", "/schema", "/schema/nowhere", "/api/v1/executions/nobody"])
def test_a_host_header_that_names_no_port_harms_nothing(bridge: BridgeProcess, path: str) -> None:
    answer = bridge.client.get(path, headers={"Host": "localhost:99999999"})
    assert answer.status_code == (200 if path == "/schema" else 404)


@pytest.mark.parametrize(
    "path",
    ["/api/v1/executions", "/api/latest/executions", "/api/v1/executions/stats", "/api/v1/plugins", "/metrics",
     "/schema", "/schema/openapi.json", "/schema/viewer/start.js"],
)  # fmt: skip
def test_without_a_token_a_host_that_is_no_name_of_this_machine_is_421(bridge: BridgeProcess, path: str) -> None:
    """A web page that has its own name point to 127.0.0.1 reads nothing."""
    assert problem(bridge.client.get(path, headers={"Host": "evil.example"})) == (421, "misdirected-request")
    for host in ("localhost", "[::1]:8001", "192.0.2.7"):
        assert bridge.client.get(path, headers={"Host": host}).status_code == 200
    assert bridge.client.delete("/api/v1/executions/cleanup", headers={"Host": "evil.example"}).status_code == 421


def test_under_any_host_name_webhooks_and_health_are_served(bridge: BridgeProcess, guarded: BridgeProcess) -> None:
    foreign = {"Host": "hooks.example"}
    for path in ("/health", "/health/ready", "/health/live", "/api/v1/webhook/echo", "/api/latest/webhook/echo"):
        assert bridge.client.get(path, headers=foreign).status_code == 200
    assert guarded.client.get("/api/v1/plugins", headers={**foreign, "Authorization": f"Bearer {TOKEN}"}).is_success


@pytest.mark.parametrize("name", ["nobody", "..", "%2e%2e%2fecho", "ECHO", "echo.py", "%00", "a" * 5000])
def test_an_unknown_plugin_is_404(bridge: BridgeProcess, name: str) -> None:
    assert problem(bridge.client.get(f"/api/v1/plugins/{name}")) == (404, "not-found")
    assert problem(bridge.client.post(f"/api/v1/webhook/{name}", json={})) == (404, "not-found")


def test_plugins_are_listed_with_what_they_handle(bridge: BridgeProcess) -> None:
    plugins = {plugin["name"]: plugin for plugin in bridge.get("/plugins")["plugins"]}
    assert list(plugins) == ["broken", "echo", "get_only"]
    assert bridge.get("/plugins/get_only") == plugins["get_only"]
    loaded_at = plugins["get_only"].pop("loaded_at")
    assert plugins["get_only"] == {
        "name": "get_only",
        "path": str(bridge.folder / "plugins" / "get_only.py"),
        "methods": ["GET"],
        "state": "ready",
        "error": "",
        "doc": "Only reads.",
        "note": "",
    }
    assert loaded_at.endswith("Z")


def test_a_broken_plugin_is_a_row_with_its_traceback_and_503_on_its_route(bridge: BridgeProcess) -> None:
    row = bridge.get("/plugins/broken")
    assert (row["state"], row["methods"], row["loaded_at"]) == ("broken", [], None)
    assert "ModuleNotFoundError: No module named 'no_such_module'" in row["error"]
    answer = send(bridge, b"{}", "broken")
    assert problem(answer) == (503, "plugin-broken")
    assert int(answer.headers["Retry-After"]) > 0
    assert bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")["status"] == "failed"


def test_health_says_what_works(bridge: BridgeProcess) -> None:
    health = bridge.client.get("/health").json()
    spool = health.pop("spool")
    assert set(spool) >= {"frames", "bytes", "oldest_age_seconds", "dropped", "delivered"}
    accounting = health.pop("accounting")
    assert set(accounting) == {"started", "stored", "spooled", "in_flight", "dropped"}
    assert health.pop("version")
    assert health == {"status": "ok", "webhooks": "ok", "storage": "ok", "interrupted_at_start": 0, "destinations": {}}
    assert bridge.client.get("/health/ready").status_code == 200
    assert bridge.client.get("/health/live").json() == {"status": "ok"}


def test_metrics_are_prometheus_text(bridge: BridgeProcess) -> None:
    send(bridge, b"{}")
    answer = bridge.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert re.search(
        r'^webhook_bridge_executions_total\{.*plugin="echo",status="completed".*\} [0-9.]+$', answer.text, re.MULTILINE
    )


PARAMETERS = ("limit", "offset", "cursor", "plugin", "status", "error_type", "trace_id", "delivery_id", "start_time",
              "end_time", "min_duration", "max_duration", "q", "tags", "fields", "days", "limt", "")  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=40),
    st.text(string.digits + ":-+.TZ eE_,", max_size=30),
    st.sampled_from(
        ["completed", "failed,timeout", "id,status", "a:b", "-1", "1e3", "2025-06-06T14:33:48Z", "MQ", "-24h", "250ms"]
    ),
    st.integers().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)


@settings(max_examples=120, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.lists(st.tuples(st.sampled_from(PARAMETERS), VALUES), max_size=4), stats=st.booleans())
def test_no_query_is_a_5xx(bridge: BridgeProcess, *, query: list[tuple[str, str]], stats: bool) -> None:
    answer = bridge.client.get(f"/api/v1/executions{'/stats' if stats else ''}?{urlencode(query)}")
    if answer.status_code != 200:
        assert problem(answer) == (422, "invalid-parameter")


@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segments=st.lists(st.binary(max_size=20), min_size=1, max_size=3))
def test_no_path_is_a_5xx(bridge: BridgeProcess, segments: list[bytes]) -> None:
    path = "/".join("".join(f"%{byte:02x}" for byte in segment) for segment in segments)
    for prefix in ("/", "/api/v1/executions/", "/api/v1/plugins/", "/api/v1/webhook/", "/schema/"):
        assert bridge.client.get(prefix + path).status_code < 500


@pytest.mark.parametrize(
    "path",
    ["/api/v1/executions", "/api/latest/executions", "/api/v1/executions/some-id", "/api/v1/executions/stats",
     "/api/v1/executions/storage/info", "/api/v1/plugins", "/api/v1/plugins/echo", "/metrics", "/schema",
     "/schema/openapi.json", "/schema/viewer/start.js"],
)  # fmt: skip
def test_everything_but_webhooks_and_health_wants_the_token(guarded: BridgeProcess, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Token {TOKEN}"}):
        answer = guarded.client.get(path, headers=headers)
        assert problem(answer) == (401, "unauthorized")
        assert answer.headers.get_list("WWW-Authenticate")[0] == 'Bearer realm="webhook-bridge"'
    assert guarded.client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code in {200, 404, 503}


def test_the_cleanup_wants_the_token(guarded: BridgeProcess) -> None:
    assert problem(guarded.client.delete("/api/v1/executions/cleanup")) == (401, "unauthorized")


def test_webhooks_and_health_are_open(guarded: BridgeProcess) -> None:
    assert guarded.post("echo", {"a": 1}).json() == {"a": 1}
    assert [guarded.client.get(path).status_code for path in ("/health", "/health/ready", "/health/live")] == [200] * 3


def test_a_browser_is_asked_for_the_token_at_the_pages_only(guarded: BridgeProcess) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()}
    asked = guarded.client.get("/schema").headers.get_list("WWW-Authenticate")
    assert asked[1] == 'Basic realm="webhook-bridge", charset="UTF-8"'
    for path in ("/schema", "/schema/openapi.json", "/schema/viewer/start.js"):
        assert guarded.client.get(path, headers=basic).status_code == 200
    assert len(guarded.client.get("/api/v1/executions").headers.get_list("WWW-Authenticate")) == 1
    for path in ("/api/v1/executions", "/metrics"):
        assert problem(guarded.client.get(path, headers=basic)) == (401, "unauthorized")
    for wrong in ("anybody:wrong", TOKEN, "anybody:", f"{TOKEN}:anybody"):
        headers = {"Authorization": "Basic " + base64.b64encode(wrong.encode()).decode()}
        assert guarded.client.get("/schema", headers=headers).status_code == 401
    assert guarded.client.get("/schema", headers={b"Authorization": b"Basic \xa7"}).status_code == 401


def test_a_store_that_is_away_is_503_and_strangers_are_not_told_why(guarded: BridgeProcess) -> None:
    answer = guarded.client.get("/api/v1/executions", headers={"Authorization": f"Bearer {TOKEN}"})
    assert problem(answer) == (503, "storage-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    health = guarded.client.get("/health")
    assert (health.json()["status"], health.json()["storage"]) == ("degraded", "unavailable")
    assert "executions.db" not in answer.text + health.text


@pytest.mark.parametrize(
    "path", ["", "/some-id", "/some-id/spans", "/stats", "/stats/echo", "/storage/info", "?fields=id"]
)
def test_without_tracking_there_is_no_history(untracked: BridgeProcess, path: str) -> None:
    assert problem(untracked.client.get(f"/api/v1/executions{path}")) == (404, "history-disabled")
    assert problem(untracked.client.delete("/api/v1/executions/cleanup")) == (404, "history-disabled")


def test_without_tracking_webhooks_are_served(untracked: BridgeProcess) -> None:
    answer = untracked.post("echo", {"a": 1})
    assert (answer.json(), answer.headers["X-Execution-Durable"]) == ({"a": 1}, "none")
    assert untracked.client.get("/health").json()["storage"] == "disabled"
    assert untracked.client.get("/metrics").status_code == 200


def test_off_loopback_the_start_is_refused_without_a_token(tmp_path: Path) -> None:
    process = BridgeProcess(tmp_path, BRIDGE__SERVER__HOST="0.0.0.0").spawn()
    assert process.process.wait(20) == 2
    assert "auth.token" in process.log
    assert "Traceback" not in process.log
