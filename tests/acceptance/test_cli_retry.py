"""`webhook-bridge storage retry`: what a store refused is written again once the reason is gone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from bridge_process import until

from bridge_app.cli.root import run
from exporters.dead_frames import DeadFrames
from otel_tracker.query import PageRequest
from otel_tracker.record import ExecutionRecord, SpanRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge_process import BridgeProcess

    from otel_tracker.record import Row

TRIGGER = "CREATE TRIGGER odd BEFORE INSERT ON executions WHEN NEW.plugin_name = 'bad' BEGIN SELECT json('no'); END"
RECORD = ExecutionRecord(
    id="01974553-0000-7000-8000-000000000001",
    plugin_name="bad",
    status=Status.COMPLETED,
    start_time=1_749_220_428_000_000_000,
    end_time=1_749_220_428_012_300_000,
    duration=12_300_000,
    input='{"name":"Ada"}',
    output="{}",
)
SPAN = SpanRecord(
    execution_id=RECORD.id,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b8",
    parent_span_id="00f067aa0ba902b7",
    name="look up",
    kind="client",
    start_time=RECORD.start_time,
    end_time=RECORD.start_time + 1,
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a bridge whose folder is the current one; it is not running."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data" / "executions.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def execute(database: Path) -> Callable[[str], None]:
    def act(statement: str) -> None:
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute(statement)

    return act


@pytest.fixture
def dead(database: Path) -> Path:
    """The folder of refused frames of a process that is dead."""
    folder = database.parent / "spool" / "gone" / "dead"
    folder.parent.mkdir(parents=True)
    return folder


def bury(folder: Path, *rows: Row) -> None:
    for row in rows:
        DeadFrames(folder).bury(msgspec.msgpack.encode(row), reason="given up: OperationalError: not you")


def told(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[dict[str, Any]]]:
    status = run(["storage", "retry", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def stored(database: Path) -> list[ExecutionRecord]:
    with contextlib.closing(open_store(f"sqlite:///{database}")) as store:
        return list(store.page(PageRequest(limit=100)).executions)


def test_a_refused_delivery_is_on_record_after_its_retry(
    bridge: BridgeProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the webhook to the list, while the bridge runs."""
    monkeypatch.chdir(bridge.folder)
    for name in ("good", "bad"):
        bridge.plugin(name, "def handle(event):\n    return event.data\n")
    bridge.start()
    with contextlib.closing(sqlite3.connect(bridge.folder / "data" / "executions.db", isolation_level=None)) as other:
        other.execute(TRIGGER)
        ids = [bridge.post(name, {"of": name}).headers["X-Execution-Id"] for name in ("good", "bad", "good", "good")]
        assert until(lambda: bridge.client.get("/health").json()["spool"]["rejected"] == 1, seconds=60), bridge.log
        assert [row["id"] for row in bridge.get("/executions")["executions"]] == [ids[3], ids[2], ids[0]]
        other.execute("DROP TRIGGER odd")

    status, (row,) = told(capsys, "--dry-run")
    assert (status, row["execution_id"], row["plugin_name"], row["outcome"]) == (0, ids[1], "bad", "waiting")
    assert run(["storage", "retry"]) == 0
    assert capsys.readouterr().out == "1 record stored\n"
    assert [row["id"] for row in bridge.get("/executions")["executions"]] == ids[::-1]
    assert bridge.get("/executions/stats")["total_executions"] == 4
    assert run(["storage", "retry"]) == 0
    assert capsys.readouterr().out == "the store has refused nothing that is still kept\n"


def test_what_is_stored_leaves_neither_file_nor_folder(
    database: Path, dead: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bury(dead, RECORD, SPAN)
    status, rows = told(capsys)
    assert (status, [row["outcome"] for row in rows]) == (0, ["stored", "stored"])
    assert {row["execution_id"] for row in rows} == {RECORD.id}
    assert [record.id for record in stored(database)] == [RECORD.id]
    assert list(dead.parent.parent.iterdir()) == []


def test_the_folder_of_a_spool_with_an_owner_stays(database: Path, dead: Path) -> None:
    bury(dead, RECORD)
    (dead.parent / "lock").touch()
    assert run(["storage", "retry"]) == 0
    assert list(dead.iterdir()) == []
    assert len(stored(database)) == 1


def test_what_is_there_already_is_not_doubled(database: Path, dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bury(dead, RECORD, RECORD)
    status, rows = told(capsys)
    assert (status, [row["outcome"] for row in rows]) == (0, ["stored", "known"])
    assert len(stored(database)) == 1
    with contextlib.closing(open_store(f"sqlite:///{database}")) as store:
        assert store.verify_rollups().is_good


def test_what_is_refused_again_stays(
    dead: Path, execute: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    execute(TRIGGER)
    bury(dead, RECORD, msgspec.structs.replace(RECORD, id="other", plugin_name="good"))
    assert run(["storage", "retry"]) == 1
    header, line, *summary = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "refused"
    assert RECORD.id in line
    assert "malformed JSON" in line
    assert summary == ["1 record stored", "1 record refused again"]
    assert len(list(dead.iterdir())) == 1


def test_an_original_that_is_on_record_repaired_stays_as_evidence(
    database: Path, dead: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bury(dead, msgspec.structs.replace(RECORD, input="before\0after"))
    status, (row,) = told(capsys)
    assert (status, row["outcome"]) == (0, "repaired")
    assert [record.input for record in stored(database)] == ["before\ufffdafter"]
    assert len(list(dead.iterdir())) == 1


def test_a_file_that_holds_no_record_is_told(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DeadFrames(dead).bury(b"\xc1 no row at all", reason="undecodable")
    status, (row,) = told(capsys)
    assert (status, row["outcome"], row["why"]) == (1, "refused", "the file holds no record")


@pytest.fixture
def locked(database: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.usefixtures("locked")
def test_a_store_that_is_away_ends_it_and_every_file_stays(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bury(dead, RECORD, SPAN)
    assert run(["storage", "retry"]) == 2
    assert "cannot serve now" in capsys.readouterr().err
    assert len(list(dead.iterdir())) == 2


def test_room_that_was_made_in_a_full_folder_is_seen(tmp_path: Path) -> None:
    """By the process that goes on refusing."""
    frames = DeadFrames(tmp_path / "dead", max_bytes=2 * 4096)
    for _ in range(3):
        frames.bury(b"x", reason="odd")
    assert (len(list((tmp_path / "dead").iterdir())), frames.lost) == (2, {"dead_full": 1})
    for file in (tmp_path / "dead").iterdir():
        file.unlink()
    frames.bury(b"x", reason="odd")
    assert (len(list((tmp_path / "dead").iterdir())), frames.lost) == (1, {"dead_full": 1})
