"""What no index knows, and few records of a long history are: who asks for a page is told where it stopped."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from bridge_process import BridgeProcess
from export_rows import row, seed
from msgspec.structs import replace

from bridge_app.cli.root import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLDEST = [f"{number:036}" for number in range(5, -1, -1)]
"""The six that the rare plugin ran, of 10,100 with one tag: the last to be looked at."""
RARE = {"tags": "all:yes", "plugin": "rare"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rare")
    rows = (replace(row(number), tags='{"all":"yes"}') for number in range(10_100))
    seed(made, [replace(one, plugin_name="rare") if one.id in OLDEST else one for one in rows])
    return made


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Iterator[BridgeProcess]:
    process = BridgeProcess(folder, BRIDGE__EXECUTION_TRACKING__RETENTION_DAYS="36500")
    yield process.start()
    process.close()


def page(bridge: BridgeProcess, **parameters: Any) -> tuple[list[str], int, str, bool, str | None]:
    found = bridge.get("/executions", **RARE, **parameters)
    ids = [one["id"] for one in found["executions"]]
    return ids, found["total"], found["total_relation"], found["scan_complete"], found["next_cursor"]


@pytest.mark.parametrize("fields", [{}, {"fields": "id"}])
def test_a_page_says_where_it_stopped_and_the_next_goes_on(bridge: BridgeProcess, fields: dict[str, str]) -> None:
    ids, total, relation, complete, cursor = page(bridge, **fields)
    assert (ids, total, relation, complete) == ([], 0, "gte", False)
    assert page(bridge, cursor=cursor, **fields) == (OLDEST, 0, "gte", True, None)


def test_an_export_has_them_all(bridge: BridgeProcess) -> None:
    texts = {}
    for kind in ("json", "jsonl", "csv", "parquet"):
        answer = bridge.client.get("/api/v1/executions/export", params={**RARE, "fields": "id", "format": kind})
        texts[kind] = answer.content
    assert [one["id"] for one in json.loads(texts["json"])] == OLDEST
    assert [json.loads(line)["id"] for line in texts["jsonl"].splitlines()] == OLDEST
    assert texts["csv"].decode().split() == ["id", *OLDEST]
    assert pq.read_table(io.BytesIO(texts["parquet"])).column("id").to_pylist() == OLDEST


def test_the_command_line_looks_on_until_it_has_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert run(["executions", "list", "--json", "--tag", "all:yes", "--plugin", "rare"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == OLDEST
