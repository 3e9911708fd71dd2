"""The retention from outside: a real bridge, its cleanup process, `kill -9`, and a cursor older than the store."""

from __future__ import annotations

import csv
import io
import shutil
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess, until

from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from otel_tracker.query import PruneResult
    from otel_tracker.storage.store import SqlStore

DAY = 86_400_000_000_000
CLEANUP = "/api/v1/executions/cleanup"
ECHO = "def handle(data):\n    return data\n"


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path)
    process.plugin("echo", ECHO)
    yield process
    process.close()


def opened(folder: Path) -> SqlStore:
    return open_store(f"sqlite:///{folder}/data/executions.db")


def execution(number: int, *, days: float, **changes: Any) -> ExecutionRecord:
    start = time.time_ns() - int(days * DAY)
    given: dict[str, Any] = {"status": Status.COMPLETED, "input": "x" * 2000, "duration": 5} | changes
    return ExecutionRecord(id=f"id-{number}", plugin_name="p", start_time=start, **given)


def seed(folder: Path, *records: ExecutionRecord) -> None:
    with closing(opened(folder)) as store:
        store.write(records)


def listed(bridge: BridgeProcess) -> list[str]:
    return [one["id"] for one in bridge.get("/executions")["executions"]]


def test_an_age_and_a_dry_run_may_be_asked_for(bridge: BridgeProcess) -> None:
    running = execution(4, days=90, status=Status.RUNNING, rank=Rank.RUNNING)
    seed(bridge.folder, execution(1, days=40), execution(2, days=10), execution(3, days=1), running)
    bridge.start()

    def clean(**parameters: str) -> tuple[int, bool]:
        answer = bridge.client.delete(CLEANUP, params=parameters)
        assert answer.status_code == 200
        return answer.json()["deleted"], answer.json()["dry_run"]

    assert clean(older_than="7d", dry_run="true") == (2, True)
    assert clean(dry_run="true") == (1, True)
    assert listed(bridge) == ["id-3", "id-2", "id-1", "id-4"]
    assert clean(older_than="7d") == (2, False)
    assert listed(bridge) == ["id-3", "id-4"]
    assert clean() == (0, False)


def test_what_max_bytes_took_is_told(tmp_path: Path) -> None:
    seed(tmp_path, *(execution(number, days=2 - number / 1000) for number in range(1000)))
    bridge = BridgeProcess(tmp_path, BRIDGE__EXECUTION_TRACKING__MAX_BYTES="1MB")
    try:
        bridge.start()
        answer = bridge.client.delete(CLEANUP).json()
        assert (answer["deleted"], answer["payloads_deleted"]) == (0, 885)
        assert answer["freed_bytes"] > 1_000_000
        record = bridge.get("/executions/id-884")
        assert (record["payload_deleted"], record["input"], record["metadata"]) == (True, "", "{}")
        assert bridge.get("/executions/id-885")["payload_deleted"] is False
        query = {"format": "csv", "fields": "id,payload_deleted"}
        rows = dict(csv.reader(io.StringIO(bridge.client.get("/api/v1/executions/export", params=query).text)))
        assert (rows["id-884"], rows["id-885"]) == ("true", "false")
        assert bridge.get("/executions/storage/info")["last_cleanup"]["freed_bytes"] == answer["freed_bytes"]
    finally:
        bridge.close()


def test_while_another_process_cleans_it_is_refused(bridge: BridgeProcess) -> None:
    seed(bridge.folder, *(execution(number, days=40) for number in range(5)))
    bridge.start()
    answers: list[httpx.Response] = []

    def meanwhile(_: PruneResult) -> bool:
        if not answers:
            answers.append(bridge.client.delete(CLEANUP))
        return True

    with closing(opened(bridge.folder)) as store:
        assert store.prune(started_before=time.time_ns() - 30 * DAY, on_batch=meanwhile).deleted == 5
    assert (answers[0].status_code, answers[0].json()["type"]) == (409, "/problems/cleanup-running")
    assert 0 < int(answers[0].headers["Retry-After"]) <= 60
    assert bridge.client.delete(CLEANUP).json()["deleted"] == 0


def test_a_bridge_that_stops_does_not_wait_for_its_cleanup(bridge: BridgeProcess) -> None:
    """What it has deleted by then is the answer; the next run deletes the rest."""
    count = 30_000
    with closing(opened(bridge.folder)) as store:
        for first in range(0, count, 1000):
            store.write([execution(number, days=40) for number in range(first, first + 1000)])
    bridge.start()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(bridge.client.delete(CLEANUP)))
    asking.start()
    with closing(opened(bridge.folder)) as store:
        assert until(lambda: store.info().total_records < count)
        assert bridge.stop() == 0
        asking.join(20)
        assert answers[0].status_code == 200
        deleted = answers[0].json()["deleted"]
        assert 0 < deleted == count - store.info().total_records
        assert store.verify_rollups().is_good
        if deleted < count:
            assert store.prune(started_before=time.time_ns() - 30 * DAY).deleted == count - deleted


def test_nothing_that_was_deleted_comes_back_after_kill_9_and_a_lost_cursor(bridge: BridgeProcess) -> None:
    bridge.start()
    spool = next(path.parent for path in bridge.folder.glob("data/spool/*/cursor"))
    old = bridge.folder / "cursor.old"
    shutil.copy(spool / "cursor", old)
    ids = [bridge.post("echo", {"number": number}).headers["X-Execution-Id"] for number in range(20)]
    with closing(opened(bridge.folder)) as store:
        assert until(lambda: store.info().total_records == 20)
        assert until(lambda: bridge.get("/executions/storage/info")["spool"]["frames"] == 0)
        bridge.kill()
        assert store.prune(started_before=time.time_ns()).deleted == 20
        shutil.copy(old, spool / "cursor")
        bridge.start()
        assert until(lambda: not spool.exists())
        assert bridge.get("/executions/stats")["total_executions"] == 20
        assert listed(bridge) == []
        assert bridge.client.get(f"/api/v1/executions/{ids[0]}").status_code == 404
        assert store.verify_rollups().is_good
