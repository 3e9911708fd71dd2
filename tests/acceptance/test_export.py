"""The export over REST: a real server over a store whose rows are known."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from bridge_process import BridgeProcess, until
from export_rows import ROWS, TRACE, row, seed, seed_small

from bridge_app.api.rendering import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("webhook-bridge"))
LIST = "/api/v1/executions"
EXPORT = f"{LIST}/export"
PLAIN = {"Accept-Encoding": "identity"}
FILTERS: list[dict[str, Any]] = [
    {},
    {"plugin": "a,b"},
    {"plugin": ["a", "c"], "status": "failed"},
    {"error_type": "timeout"},
    {"trace_id": TRACE},
    {"delivery_id": "d-7"},
    {"start_time": "2025-06-06T14:05:00Z", "end_time": "2025-06-06T14:06:00Z"},
    {"tags": "team:a"},
    {"plugin": "nobody"},
]


def bridge_over(folder: Path, **environment: str) -> BridgeProcess:
    return BridgeProcess(folder, BRIDGE__EXECUTION_TRACKING__RETENTION_DAYS="36500", **environment)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("export")
    seed_small(folder)
    process = bridge_over(folder)
    yield process.start()
    process.close()


def seed_big(folder: Path) -> None:
    """A store with 60 MB of records: far more than sockets hold."""
    noise = random.Random(8)  # noqa: S311 - that no compression makes small
    seed(folder, [row(number, input=json.dumps(noise.randbytes(10_000).hex())) for number in range(3_000)])


@pytest.fixture
def big(tmp_path: Path) -> Iterator[BridgeProcess]:
    """A bridge with 60 MB of records, that takes one export at a time."""
    seed_big(tmp_path)
    process = bridge_over(tmp_path, BRIDGE__SERVER__MAX_SCANS="1")
    yield process.start()
    process.close()


def exported(bridge: BridgeProcess, **params: Any) -> httpx.Response:
    answer = bridge.client.get(EXPORT, params=params, headers=PLAIN)
    assert answer.status_code == 200, answer.text
    return answer


def listed(bridge: BridgeProcess, **params: Any) -> list[dict[str, Any]]:
    """The same records by the pages of the list."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = bridge.get("/executions", limit=1000, **params, **cursor)
        found += page["executions"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def remove_store(folder: Path) -> None:
    for path in (folder / "data").glob("executions.db*"):
        if not path.name.endswith(".write-lock"):
            path.unlink()


def grown_in_half_a_second(figure: Callable[[], int]) -> int:
    before = figure()
    time.sleep(0.5)
    return figure() - before


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_an_export_has_the_records_of_the_list_in_its_order(bridge: BridgeProcess, filters: dict[str, Any]) -> None:
    assert exported(bridge, format="json", **filters).json() == listed(bridge, **filters)


def test_the_formats_say_the_same(bridge: BridgeProcess) -> None:
    array = exported(bridge, format="json").json()
    assert len(array) == ROWS
    lines = exported(bridge, format="jsonl").text.splitlines()
    assert [json.loads(line) for line in lines] == array
    table = list(csv.DictReader(io.StringIO(exported(bridge).text, newline="")))
    assert list(table[0]) == list(FIELDS)
    assert [each["id"] for each in table] == [each["id"] for each in array]
    assert {each["error"] for each in table} == {"", "'=cmd|'/c calc'!A1"}
    parquet = pq.read_table(io.BytesIO(exported(bridge, format="parquet").content), columns=["id", "error", "input"])
    assert parquet.to_pylist() == [{name: each[name] for name in ("id", "error", "input")} for each in array]


@pytest.mark.parametrize(
    ("params", "media_type", "ending"),
    [
        ({}, "text/csv; charset=utf-8", "csv"),
        ({"format": "json"}, "application/json", "json"),
        ({"format": "jsonl"}, "application/x-ndjson", "jsonl"),
        ({"format": "parquet"}, "application/vnd.apache.parquet", "parquet"),
        ({"compress": "gzip"}, "application/gzip", "csv.gz"),
        ({"format": "json", "compress": "gzip"}, "application/gzip", "json.gz"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_export_is_a_download_with_a_name(
    bridge: BridgeProcess, method: str, params: dict[str, str], media_type: str, ending: str
) -> None:
    answer = bridge.client.request(method, EXPORT, params=params, headers=PLAIN)
    assert answer.headers["content-type"] == media_type
    pattern = rf'attachment; filename="executions-\d{{8}}T\d{{6}}Z\.{re.escape(ending)}"'
    assert re.fullmatch(pattern, answer.headers["content-disposition"])
    assert "content-length" not in answer.headers
    assert bool(answer.content) == (method == "GET")


def test_fields_are_the_columns_in_their_order(bridge: BridgeProcess) -> None:
    text = exported(bridge, fields="status,id", delivery_id="d-7").text
    assert text == f"status,id\r\ncompleted,{7:036}\r\n"
    assert exported(bridge, format="json", fields="id", delivery_id="d-7").json() == [{"id": f"{7:036}"}]


@pytest.mark.parametrize(
    ("params", "encoding"),
    [
        ({"format": "csv"}, "gzip"),
        ({"format": "json"}, "gzip"),
        ({"format": "csv", "compress": "gzip"}, None),
        ({"format": "parquet"}, None),
    ],
    ids=str,
)
def test_nothing_is_packed_twice(bridge: BridgeProcess, params: dict[str, str], encoding: str | None) -> None:
    answer = bridge.client.get(EXPORT, params=params, headers={"Accept-Encoding": "gzip"})
    assert answer.headers.get("content-encoding") == encoding
    expected = exported(bridge, **params)
    assert answer.content == expected.content  # the client has unpacked what was packed for the way
    if "compress" in params:
        assert gzip.decompress(answer.content) == exported(bridge).content


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("format=xml", "format", "is 'xml': expected one of csv, json, jsonl, parquet"),
        ("format=jsn", "format", "did you mean json?"),
        ("compress=zip", "compress", "is 'zip': expected one of gzip"),
        ("format=parquet&compress=gzip", "compress", "compressed in itself"),
        ("limit=5", "limit", "is no parameter here"),
        ("cursor=x", "cursor", "is no parameter here"),
        ("statu=failed", "statu", "did you mean status?"),
        ("status=done", "status", "expected one of pending"),
        ("fields=stauts", "fields", "did you mean status?"),
        ("format=csv&format=json", "format", "was given 2 times"),
        ("plugin=", "plugin", "is empty"),
    ],
)
def test_a_wrong_parameter_is_422_and_named(bridge: BridgeProcess, query: str, field: str, message: str) -> None:
    answer = bridge.client.get(f"{EXPORT}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-parameter")
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert message in answer.json()["errors"][0]["message"]


def test_an_export_needs_the_token_of_the_list(tmp_path: Path) -> None:
    process = bridge_over(tmp_path, BRIDGE__AUTH__TOKEN="t")
    try:
        client = process.start().client
        assert client.get(EXPORT).status_code == client.get("/api/v1/executions").status_code == 401
        assert client.get(EXPORT, headers={"Authorization": "Bearer t"}).status_code == 200
    finally:
        process.close()


def test_what_starts_meanwhile_is_not_in_it(big: BridgeProcess) -> None:
    """Nor is anything in it twice: three start at the same moment, so that pages end between them."""
    big.plugin("echo", "def handle(event):\n    return event.data\n")
    with big.client.stream("GET", EXPORT, params={"format": "jsonl"}, headers=PLAIN) as answer:
        lines = answer.iter_lines()
        found = [json.loads(next(lines))["id"]]
        arrived = big.post("echo", {}).headers["X-Execution-Id"]
        assert until(lambda: big.get("/executions", limit=1, fields="id")["executions"] == [{"id": arrived}])
        found += [json.loads(line)["id"] for line in lines]
    assert found == [f"{number:036}" for number in reversed(range(3_000))]


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_store_that_goes_away_in_the_middle_breaks_the_answer_off(
    big: BridgeProcess, tmp_path: Path, encoding: str, *, replaced: bool
) -> None:
    """The store makes a deleted file anew: its emptiness must not look like the end."""
    other = tmp_path / "other"
    seed(other, [row(number) for number in range(3_000)])
    received = bytearray()
    headers = {"Accept-Encoding": encoding}
    params = {"format": "json"}
    with big.client.stream("GET", EXPORT, params=params, headers=headers) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_bytes()
        received += next(pieces)
        remove_store(big.folder)
        if replaced:
            shutil.copy(other / "data" / "executions.db", big.folder / "data")
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            received += b"".join(pieces)
    with pytest.raises(json.JSONDecodeError):
        json.loads(received)
    # A connection that was reading while the file went may find that out first, in its own words.
    why = "(was replaced while|is malformed|disk I/O error)"
    assert re.search(f"WARNING bridge_app.api.streaming: an answer was broken off: .* {why}", big.log)
    assert "Traceback" not in big.log
    assert big.client.get("/health/live").status_code == 200


def test_a_store_that_is_away_at_the_start_is_503(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    process = bridge_over(tmp_path)
    try:
        answer = process.start().client.get(EXPORT)
    finally:
        process.close()
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
    assert "content-disposition" not in answer.headers


def test_for_a_client_that_is_gone_nothing_more_is_read(big: BridgeProcess) -> None:
    server = psutil.Process(big.process.pid)

    def bytes_read() -> int:
        return int(server.io_counters().read_chars)

    before = bytes_read()
    with big.client.stream("GET", EXPORT, params={"format": "jsonl"}, headers=PLAIN) as answer:
        next(answer.iter_raw())
    assert until(lambda: grown_in_half_a_second(bytes_read) < 100_000)
    assert bytes_read() - before < 30_000_000
    assert "broken off" not in big.log


def test_only_so_many_exports_and_searches_go_on_at_a_time(big: BridgeProcess) -> None:
    for _ in range(3):  # whatever ends early gives its turn back
        assert big.client.head(EXPORT).status_code == 200
        assert big.client.get(EXPORT, params={"fields": "id", "plugin": "nobody"}).status_code == 200
        assert big.client.get(LIST, params={"q": "nothing has this"}).status_code == 200
        assert big.client.get(LIST, params={"q": "x", "cursor": "wrong"}).status_code == 422
    with big.client.stream("GET", EXPORT, params={"format": "jsonl"}, headers=PLAIN) as answer:
        sent = answer.iter_raw()
        next(sent)  # kept: without it httpx would hang up
        for refused in (big.client.get(EXPORT), big.client.get(LIST, params={"q": "x"})):
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
            assert int(refused.headers["retry-after"]) > 0
            assert "server.max_scans" in refused.json()["detail"]
        assert big.client.get(LIST, params={"limit": 1}).status_code == 200
    assert until(lambda: big.client.head(EXPORT).status_code == 200)


class WithoutPyarrow(BridgeProcess):
    program = "import sys; sys.modules['pyarrow'] = None; from bridge_app.cli import main; main()"


def test_parquet_without_pyarrow_is_501_and_says_what_to_install(tmp_path: Path) -> None:
    process = WithoutPyarrow(tmp_path)
    try:
        answer = process.start().client.get(EXPORT, params={"format": "parquet"})
        csv_answer = process.client.get(EXPORT)
    finally:
        process.close()
    assert (answer.status_code, answer.json()["type"]) == (501, "/problems/not-installed")
    assert "pip install 'otel-webhook-bridge[parquet]'" in answer.json()["detail"]
    assert csv_answer.status_code == 200


def test_the_command_writes_what_rest_sends(bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bridge.folder)
    for name in ("csv", "json", "jsonl", "parquet"):
        arguments = [COMMAND, "export", "--format", name, "--plugin", "a"]
        done = subprocess.run(arguments, capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == exported(bridge, format=name, plugin="a").content
