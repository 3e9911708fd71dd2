"""The store is away, for real: webhooks go on, the spool keeps their records, and they appear when it is back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from bridge_process import until
from outages import small_disk_in

from exporters.spool import Spool
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge_process import BridgeProcess

    from benchmarks.small_disk import SmallDisk

ECHO = "def handle(event):\n    return event.data\n"
DISABLED = "Execution tracking will be disabled"


@pytest.fixture
def echo(bridge: BridgeProcess) -> BridgeProcess:
    bridge.plugin("echo", ECHO)
    return bridge


KEPT = {"disk", "process"}  # disk, but for a machine so busy that a sync takes 50 ms


def deliver(bridge: BridgeProcess, count: int, *, durable: set[str] = KEPT) -> list[str]:
    """Post, and give the ids of the executions; every answer is the plugin's."""
    ids = []
    for number in range(count):
        answer = bridge.post("echo", {"n": number})
        assert (answer.status_code, answer.json()) == (200, {"n": number})
        assert answer.headers["X-Execution-Durable"] in durable
        ids.append(answer.headers["X-Execution-Id"])
    return ids


def assert_history_is_away(bridge: BridgeProcess) -> None:
    for path in ("/executions", "/executions/stats", "/executions/storage/info", "/executions/0"):
        answer = bridge.client.get(f"/api/v1{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.json()["type"] == "/problems/storage-unavailable"
        assert int(answer.headers["Retry-After"]) >= 1


def health(bridge: BridgeProcess) -> dict[str, Any]:
    answer = bridge.client.get("/health")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def listed(bridge: BridgeProcess) -> list[str]:
    """The ids in the history's list, oldest first; nothing while it cannot be read."""
    answer = bridge.client.get("/api/v1/executions", params={"limit": 1000})
    if answer.status_code != 200:
        return []
    records = answer.json()["executions"]
    assert {(r["status"], r["output"] == r["input"]) for r in records} <= {("completed", True)}
    return [record["id"] for record in reversed(records)]


def a_directory(path: Path) -> str:
    path.mkdir(parents=True)
    return "Is a directory"


def a_text(path: Path) -> str:
    path.parent.mkdir()
    path.write_text("dear diary, " * 500)
    return "is not an SQLite database"


def another_programs_database(path: Path) -> str:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (secret)")
    return "holds another program's tables"


def below_a_file(path: Path) -> str:
    path.parent.write_text("")
    return "cannot open"


@pytest.mark.parametrize("obstacle", [a_directory, a_text, another_programs_database, below_a_file])
def test_webhooks_are_served_without_a_store_and_recorded_once_it_is_back(echo: BridgeProcess, obstacle: Any) -> None:
    path = echo.folder / "store" / "executions.db"
    why = obstacle(path)
    echo._environment |= {
        "BRIDGE__STORAGE__SQLITE__DATABASE_PATH": str(path),
        "BRIDGE__EXECUTION_TRACKING__SPOOL__DIRECTORY": str(echo.folder / "spool"),
    }
    echo.start()
    lines = [line.split(": ", 1)[1] for line in echo.log.splitlines() if " ERROR bridge_app.history: " in line]
    assert len(lines) == 2
    assert lines[0].startswith("Failed to initialize storage: ")
    assert why in lines[0]
    assert lines[1] == DISABLED

    ids = deliver(echo, 20)
    assert_history_is_away(echo)
    told = health(echo)
    assert (told["status"], told["webhooks"]) == ("degraded", "ok")
    assert why in told["storage"]
    assert told["spool"]["frames"] == 20

    shutil.rmtree(path.parent) if path.parent.is_dir() else path.parent.unlink()
    assert until(lambda: listed(echo) == ids)
    assert until(lambda: health(echo)["spool"]["frames"] == 0)  # the spool's cursor moves after the commit
    told = health(echo)
    assert (told["status"], told["storage"]) == ("ok", "ok")
    assert "Execution storage initialized successfully" in echo.log


def test_with_no_place_for_store_and_spool_webhooks_are_served_and_say_none(echo: BridgeProcess) -> None:
    """By default the spool lies beside the database; what cannot be kept anywhere is not promised."""
    (echo.folder / "data").write_text("in the way")
    echo.start()
    assert "Failed to initialize storage: " in echo.log
    assert DISABLED in echo.log
    deliver(echo, 3, durable={"none"})
    assert_history_is_away(echo)
    assert health(echo)["status"] == "degraded"
    (echo.folder / "data").unlink()
    assert until(lambda: health(echo)["storage"] == "ok")
    # The first one makes folder and file, which on a busy disk takes longer than an answer waits.
    ids = deliver(echo, 3, durable={*KEPT, "none"})
    assert until(lambda: listed(echo)[-3:] == ids)
    deliver(echo, 1)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program has the database to itself: nobody else can even read it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        yield


def test_a_store_that_is_locked_at_the_start_is_taken_when_it_is_free(echo: BridgeProcess) -> None:
    database = echo.folder / "data" / "executions.db"
    open_store(f"sqlite:///{database}").close()
    with locked(database):
        echo.start()
        assert "Failed to initialize storage: " in echo.log
        assert DISABLED in echo.log
        ids = deliver(echo, 5)
        assert_history_is_away(echo)
        assert health(echo)["status"] == "degraded"
    assert until(lambda: listed(echo) == ids)
    assert health(echo)["status"] == "ok"


def test_an_adoption_that_fails_keeps_no_dead_spool_taken(echo: BridgeProcess) -> None:
    """The first orphan cannot be written; those that were taken with it are free for the next try."""
    database = echo.folder / "data" / "executions.db"
    open_store(f"sqlite:///{database}").close()
    for name in ("dead-1", "dead-2", "dead-3"):
        leave_spool(database.parent / "spool", name, [record(f"{name}-{n}", instance=name) for n in range(10)])
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        echo.start()
        assert until(lambda: "Records do not reach the store now" in echo.log, seconds=20)
    assert until(lambda: len(listed(echo)) == 30, seconds=20)
    assert until(lambda: len(list((database.parent / "spool").iterdir())) == 1)


def test_a_database_deleted_under_the_bridge_is_made_anew_and_loses_nothing_new(echo: BridgeProcess) -> None:
    echo.start()
    before = deliver(echo, 5)
    assert until(lambda: listed(echo) == before)
    for file in (echo.folder / "data").glob("executions.db*"):
        file.unlink()
    ids = deliver(echo, 5)
    assert until(lambda: listed(echo) == ids)
    assert health(echo)["storage"] == "ok"


def test_a_data_folder_deleted_under_the_bridge_is_made_anew_and_nothing_is_promised_in_vain(
    echo: BridgeProcess,
) -> None:
    """Spool and database go; what is called durable after that is on record."""
    echo.start()
    before = deliver(echo, 5)
    assert until(lambda: listed(echo) == before)
    shutil.rmtree(echo.folder / "data")
    answers = [echo.post("echo", {"n": number}) for number in range(5)]
    assert all(answer.status_code == 200 for answer in answers)
    assert until(lambda: listed(echo) == [answer.headers["X-Execution-Id"] for answer in answers])
    assert until(lambda: echo.post("echo", {}).headers["X-Execution-Durable"] == "disk")
    assert health(echo)["status"] == "ok"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk_in(tmp_path) as disk:
        yield disk


def test_a_full_disk_under_the_database_holds_nothing_up(small_disk: SmallDisk, echo: BridgeProcess) -> None:
    echo._environment |= {
        "BRIDGE__STORAGE__SQLITE__DATABASE_PATH": str(small_disk.folder / "executions.db"),
        "BRIDGE__EXECUTION_TRACKING__SPOOL__DIRECTORY": str(echo.folder / "spool"),
    }
    echo.start()
    first = deliver(echo, 1)
    assert until(lambda: listed(echo) == first)
    small_disk.fill()
    ids = deliver(echo, 300)
    assert until(lambda: health(echo)["spool"]["last_error"] != "")
    told = health(echo)
    assert told["status"] == "degraded"
    assert "full" in told["storage"]
    small_disk.free()
    assert until(lambda: listed(echo) == first + ids)
    assert health(echo)["storage"] == "ok"
    echo.stop()


def test_a_full_disk_under_everything_is_told_truthfully(small_disk: SmallDisk, echo: BridgeProcess) -> None:
    """What is only in memory is never called durable; once there is room it is written and appears."""
    database = small_disk.folder / "data" / "executions.db"
    echo._environment["BRIDGE__STORAGE__SQLITE__DATABASE_PATH"] = str(database)
    echo.start()
    first = deliver(echo, 1)
    assert until(lambda: listed(echo) == first)
    small_disk.fill()
    said = []
    ids = []
    for number in range(100):
        answer = echo.post("echo", {"n": number, "padding": "x" * 5000})
        assert answer.status_code == 200
        said.append(answer.headers["X-Execution-Durable"])
        ids.append(answer.headers["X-Execution-Id"])
        if said[-3:] == ["none"] * 3:
            break
    assert said[-3:] == ["none"] * 3
    small_disk.free()
    assert until(lambda: listed(echo) == first + ids)
    deliver(echo, 1)
    echo.stop()


def test_a_row_that_the_database_refuses_is_repaired_and_kept_raw_and_harms_no_other(echo: BridgeProcess) -> None:
    root = echo.folder / "data" / "spool"
    good = [record(f"good-{n}", instance="dead") for n in range(40)]
    bad = record("bad", instance="dead", input="before\0after")
    undecodable = b"\xc1 no row at all"
    leave_spool(root, "dead", [*good[:20], bad, *good[20:]], undecodable)
    echo.start()
    assert until(lambda: not list((root / "dead").glob("*.seg")))
    records = echo.get("/executions", limit=100)["executions"]
    assert {r["id"]: r["input"] for r in records} == {r.id: r.input for r in good} | {"bad": "before\ufffdafter"}
    kept = sorted(file.read_bytes() for file in (root / "dead" / "dead").iterdir())
    assert kept == sorted([msgspec.msgpack.encode(bad), undecodable])
    assert health(echo)["spool"]["rejected"] == 2


def record(id_: str, *, instance: str, input: str = "{}") -> ExecutionRecord:  # noqa: A002 - the record's own word
    return ExecutionRecord(
        id=id_,
        plugin_name="echo",
        status=Status.COMPLETED,
        start_time=1_700_000_000_000_000_000,
        end_time=1_700_000_000_500_000_000,
        input=input,
        output="{}",
        instance_id=instance,
    )


def leave_spool(root: Path, instance_id: str, records: list[ExecutionRecord], *frames: bytes) -> None:
    """What a dead process leaves: a spool that nobody owns."""
    spool = Spool.open(root, instance_id=instance_id)
    for frame in (*map(msgspec.msgpack.encode, records), *frames):
        assert spool.append(frame)
    spool.close(timeout_seconds=10)
