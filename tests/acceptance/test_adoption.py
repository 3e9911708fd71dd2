"""What dead processes left: taken in whole and once, by one, while the living are left alone."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from bridge_process import BridgeProcess, until

from exporters.segments import HEADER_BYTES
from exporters.spool import Spool
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import httpx

GATE = """
import pathlib, time
def handle(event):
    while not pathlib.Path(event.data['gate']).exists():
        time.sleep(0.01)
    return {'passed': True}
"""
START = 1_700_000_000_000_000_000
DEAD = "0-dead"
LAST = "zz-dead"
"""Sorts behind every instance id: when it is taken in, every spool before it has been looked at."""


@pytest.fixture
def second(bridge: BridgeProcess) -> Iterator[BridgeProcess]:
    """Another bridge on the same folder, and so on the same database and spool root; not started yet."""
    other = BridgeProcess(bridge.folder)
    other.log_name = "second.log"
    yield other
    other.close()


@pytest.fixture
def root(bridge: BridgeProcess) -> Path:
    return bridge.folder / "data" / "spool"


def ended(number: int, *, instance: str = DEAD) -> ExecutionRecord:
    return ExecutionRecord(
        id=f"{instance}-{number:05d}",
        plugin_name="old",
        status=Status.COMPLETED,
        start_time=START + number,
        end_time=START + number + 1_000_000,
        output=f'"{number}"',
        instance_id=instance,
    )


def running(number: int, *, instance: str = DEAD) -> ExecutionRecord:
    return ExecutionRecord(
        id=f"{instance}-{number:05d}",
        plugin_name="old",
        status=Status.RUNNING,
        rank=Rank.RUNNING,
        start_time=START + number,
        instance_id=instance,
    )


def leave_spool(root: Path, instance_id: str, records: list[ExecutionRecord]) -> list[Path]:
    """What a dead process leaves; its segments, oldest first."""
    spool = Spool.open(root, instance_id=instance_id, segment_bytes=8_000)
    for record in records:
        assert spool.append(msgspec.msgpack.encode(record))
    spool.close(timeout_seconds=10)
    return sorted((root / instance_id).glob("*.seg"))


def everything(bridge: BridgeProcess, **filters: str) -> dict[str, dict[str, Any]]:
    page = bridge.get("/executions", limit=1000, **filters)
    records = {record["id"]: record for record in page["executions"]}
    assert len(records) == len(page["executions"]) == page["total"]
    return records


def spool_of(bridge: BridgeProcess) -> dict[str, Any]:
    found: dict[str, Any] = bridge.client.get("/health").json()["spool"]
    return found


def nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)


def begin(bridge: BridgeProcess, pool: ThreadPoolExecutor, gate: Path) -> Future[httpx.Response]:
    """A delivery that runs until the gate opens, and is on record as running."""
    answer = pool.submit(bridge.post, "gate", {"gate": str(gate)})
    assert until(lambda: bridge.get("/executions", status="running")["total"] == 1)
    return answer


def test_the_running_of_a_killed_bridge_end_as_interrupted_when_it_was_last_alive(bridge: BridgeProcess) -> None:
    """However long it was away, the end lies near the kill."""
    bridge.plugin("gate", GATE)
    bridge.start()
    with ThreadPoolExecutor() as pool:
        answer = begin(bridge, pool, bridge.folder / "gate")
        (execution_id,) = everything(bridge)
        time.sleep(1.2)  # so that its start alone cannot pass for its last sign of life
        bridge.kill()
        killed = time.time_ns()
        assert answer.exception() is not None
    time.sleep(2)  # it is away for long
    bridge.start()
    assert until(lambda: bridge.get("/executions", status="running")["total"] == 0, seconds=5)
    record = everything(bridge)[execution_id]
    assert (record["status"], record["error_type"]) == ("failed", "interrupted")
    assert record["error"] == "The process that ran this execution ended before it did."
    assert killed - 1_500_000_000 < nanoseconds(record["end_time"]) <= killed
    assert record["duration"] == pytest.approx(
        nanoseconds(record["end_time"]) - nanoseconds(record["start_time"]), abs=1_000_000
    )
    assert bridge.client.get("/health").json()["interrupted_at_start"] == 1


def test_a_living_bridge_keeps_its_spool_and_its_running_executions(
    bridge: BridgeProcess, second: BridgeProcess, root: Path
) -> None:
    bridge.plugin("gate", GATE)
    bridge.start()
    gate = bridge.folder / "gate"
    with ThreadPoolExecutor() as pool:
        answer = begin(bridge, pool, gate)
        (execution_id,) = everything(bridge)
        (mine,) = root.iterdir()
        leave_spool(root, LAST, [ended(1, instance=LAST)])
        second.start()
        assert until(lambda: len(everything(second)) == 2)
        assert everything(second)[execution_id]["status"] == "running"
        assert mine.is_dir()
        assert second.client.get("/health").json()["interrupted_at_start"] == 0
        gate.touch()
        assert answer.result(10).json() == {"passed": True}
    assert until(lambda: everything(second)[execution_id]["status"] == "completed")
    assert everything(bridge)[execution_id]["output"] == '{"passed":true}'


def test_a_running_bridge_takes_in_what_another_left_when_it_was_killed(
    bridge: BridgeProcess, second: BridgeProcess, root: Path
) -> None:
    """Nobody has to start anything for it."""
    bridge.plugin("gate", GATE)
    bridge.start()
    second.start()
    with ThreadPoolExecutor() as pool:
        answer = begin(bridge, pool, bridge.folder / "gate")
        (execution_id,) = everything(second)
        bridge.kill()
        assert answer.exception() is not None
    assert until(lambda: everything(second)[execution_id]["error_type"] == "interrupted", seconds=15)
    assert until(lambda: len(list(root.iterdir())) == 1)


def test_two_bridges_that_find_the_same_dead_spools_take_each_in_once(
    bridge: BridgeProcess, second: BridgeProcess, root: Path
) -> None:
    for name in ("dead-1", "dead-2", "dead-3", "dead-4"):
        leave_spool(root, name, [ended(n, instance=name) for n in range(200)] + [running(900, instance=name)])
    bridge.spawn()
    second.spawn()
    bridge.wait_until_ready()
    second.wait_until_ready()
    assert until(lambda: len(list(root.iterdir())) == 2)
    records = everything(bridge)
    assert len(records) == 804
    assert sum(record["error_type"] == "interrupted" for record in records.values()) == 4
    told = [one.client.get("/health").json()["interrupted_at_start"] for one in (bridge, second)]
    assert sum(told) == 4
    assert "Traceback" not in bridge.log + second.log


def test_damage_costs_the_damaged_frames_only_and_is_counted(bridge: BridgeProcess, root: Path) -> None:
    """A flipped byte in one segment's middle, a torn tail on the last."""
    segments = leave_spool(root, DEAD, [ended(n) for n in range(200)])
    assert len(segments) >= 3
    flipped = bytearray(segments[1].read_bytes())
    flipped[len(flipped) // 2] ^= 0x10
    segments[1].write_bytes(flipped)
    last = ended(199)
    os.truncate(segments[-1], segments[-1].stat().st_size - 7)
    bridge.start()
    assert until(lambda: len(list(root.iterdir())) == 1)
    records = everything(bridge)
    assert len(records) == 198
    assert last.id not in records
    assert all(record["output"] == f'"{int(id_[-5:])}"' for id_, record in records.items())
    assert spool_of(bridge)["corrupt_frames"] == 2


def test_zeros_after_a_power_cut_are_skipped(bridge: BridgeProcess, root: Path) -> None:
    """A file system may leave a file longer than what was written into it."""
    (segment, *_) = leave_spool(root, DEAD, [ended(n) for n in range(20)])
    with segment.open("ab") as file:
        file.write(bytes(4096 + HEADER_BYTES))
    bridge.start()
    assert until(lambda: len(list(root.iterdir())) == 1)
    assert len(everything(bridge)) == 20
    assert spool_of(bridge)["corrupt_frames"] == 1


def test_a_spool_without_frames_still_has_its_running_executions_ended(bridge: BridgeProcess, root: Path) -> None:
    """All were delivered before the kill; refused ones lie beside and stay."""
    store = open_store(f"sqlite:///{root.parent / 'executions.db'}")
    store.write([running(1)])
    store.close()
    spool = Spool.open(root, instance_id=DEAD)
    spool.reader().bury(b"refused", reason="undecodable")
    spool.close(timeout_seconds=10)
    bridge.start()
    assert until(lambda: everything(bridge)[running(1).id]["error_type"] == "interrupted", seconds=5)
    assert until(lambda: not (root / DEAD / "lock").exists())
    assert [file.read_bytes() for file in (root / DEAD / "dead").iterdir()] == [b"refused"]


def test_the_real_end_in_a_dead_spool_wins_over_an_interruption(bridge: BridgeProcess, root: Path) -> None:
    """In whichever order start, interruption and end are found."""
    leave_spool(root, DEAD, [running(1), ended(2), running(2)])
    bridge.start()
    assert until(lambda: len(list(root.iterdir())) == 1)
    assert everything(bridge)[running(1).id]["error_type"] == "interrupted"
    assert everything(bridge)[running(2).id]["status"] == "completed"
    bridge.stop()
    leave_spool(root, "1-late", [ended(1)])
    bridge.start()
    assert until(lambda: everything(bridge)[running(1).id]["status"] == "completed")
    assert everything(bridge)[running(1).id]["error_type"] == ""


def test_nobody_else_may_read_what_senders_sent(bridge: BridgeProcess, root: Path) -> None:
    """Files 0600, folders 0700, whatever the umask says."""
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    bridge.program = f"import os; os.umask(0); {bridge.program}"
    bridge.start()
    assert bridge.post("echo", {"secret": 1}).status_code == 200
    data = bridge.folder / "data"
    modes = {
        str(path.relative_to(data)): stat.S_IMODE(path.stat().st_mode) for path in [data, *sorted(data.rglob("*"))]
    }
    folders = {name for name in modes if (data / name).is_dir()}
    assert {name: oct(mode) for name, mode in modes.items() if mode != (0o700 if name in folders else 0o600)} == {}
    assert len(folders) == 3
    assert any(name.endswith(".seg") for name in modes)


def test_a_record_that_is_refused_holds_up_neither_its_spool_nor_others(bridge: BridgeProcess, root: Path) -> None:
    """By a trigger that fails for it, as it might for a moment: it is given up while others are taken, and kept."""
    bridge.start()
    assert bridge.stop() == 0
    with closing(sqlite3.connect(bridge.folder / "data/executions.db")) as connection:
        connection.execute(
            f"CREATE TRIGGER odd BEFORE INSERT ON executions WHEN NEW.id = '{DEAD}-00002' BEGIN SELECT json('no'); END"
        )
    leave_spool(root, DEAD, [ended(number) for number in range(5)])
    leave_spool(root, LAST, [ended(number, instance=LAST) for number in range(3)])
    expected = {f"{DEAD}-{number:05d}" for number in (0, 1, 3, 4)} | {f"{LAST}-{number:05d}" for number in range(3)}
    bridge.start()
    assert until(lambda: {row["id"] for row in bridge.get("/executions")["executions"]} == expected, seconds=60)
    (kept,) = (root / DEAD / "dead").iterdir()
    assert msgspec.msgpack.decode(kept.read_bytes(), type=ExecutionRecord).id == f"{DEAD}-00002"
    assert until(lambda: bridge.client.get("/health").json()["spool"]["rejected"] == 1)
