"""A database server whose disk is full: webhooks go on, no record is taken for bad, afterwards nothing is missing."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from bridge_process import until
from outages import (
    assert_all_is_well_and_on_record,
    bridge_at,
    deliver,
    health,
    listed,
    skipped_where_it_cannot_be,
)

from benchmarks.own_servers import OwnMariaDB, OwnPostgreSQL, OwnServer
from exporters.drain import Drain
from exporters.spool import Spool
from exporters.sql import ExecutionRecordExporter
from otel_tracker.errors import StorageError
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge_process import BridgeProcess

DISK_BYTES = 320 << 20
BODY_BYTES = 300_000
COUNT = 40


@pytest.fixture(params=[OwnPostgreSQL, OwnMariaDB], ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with skipped_where_it_cannot_be(), request.param.running(disk_bytes=DISK_BYTES) as own:
        yield own


def assert_reads_answer_or_say_when_to_come_again(bridge: BridgeProcess, ids: list[str]) -> None:
    """A full server may still read, and may have fallen over."""
    answer = bridge.client.get("/api/v1/executions", params={"limit": 1000})
    if answer.status_code == 200:
        assert {row["id"] for row in answer.json()["executions"]} >= set(ids)
    else:
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable"), answer.text
        assert int(answer.headers["Retry-After"]) >= 1


def test_a_full_disk(server: OwnServer, tmp_path: Path) -> None:
    with server.database("history") as url, contextlib.closing(bridge_at(tmp_path, url)) as bridge:
        bridge.start()
        ids = deliver(bridge, 5)
        assert until(lambda: listed(bridge) == ids)
        incompressible = random.Random(1).randbytes(BODY_BYTES // 2).hex()  # noqa: S311 - any bytes will do
        with server.full_disk():
            later = deliver(bridge, COUNT, more=incompressible)
            assert until(lambda: health(bridge)["status"] == "degraded", seconds=60), health(bridge)
            assert_reads_answer_or_say_when_to_come_again(bridge, ids)
            later += deliver(bridge, 5)
        assert_all_is_well_and_on_record(bridge, ids + later)
        assert health(bridge)["spool"]["rejected"] == 0
        assert list(tmp_path.glob("data/spool/*/dead/*")) == []


def test_a_full_disk_costs_no_record_though_small_ones_fit(server: OwnServer, tmp_path: Path) -> None:
    """MariaDB does not say that its disk is full: it tries for longer than anybody waits."""
    with (
        server.database("history") as url,
        contextlib.closing(open_store(url, statement_timeout_seconds=0.5)) as store,
    ):
        spool = Spool.open(tmp_path, instance_id="one", sync=False)
        drain = Drain(ExecutionRecordExporter(store), spool.reader())
        with server.full_disk():
            for number in range(COUNT):
                spool.append(msgspec.msgpack.encode(ended(number, input_bytes=0 if number % 3 else BODY_BYTES)))
            assert spool.flush(timeout_seconds=10)
            for _ in range(20):
                with contextlib.suppress(StorageError):
                    drain.once()
            assert spool.depth.frames > 0, "the disk was not full"
            assert (drain.rejected, list(tmp_path.glob("one/dead/*"))) == (0, [])
        assert until(lambda: _is_empty_after_a_try(drain), seconds=30)
        with contextlib.closing(open_store(url)) as patient:
            assert patient.info().total_records == COUNT
        spool.close(timeout_seconds=10)


def ended(number: int, *, input_bytes: int) -> ExecutionRecord:
    text = random.Random(number).randbytes(input_bytes // 2).hex()  # noqa: S311 - any bytes will do
    return ExecutionRecord(
        id=f"{number:036}", plugin_name="p", status=Status.COMPLETED, start_time=number, end_time=number, input=text
    )


def _is_empty_after_a_try(drain: Drain) -> bool:
    with contextlib.suppress(StorageError):
        drain.once()
    return not drain.reader.has_frames()
