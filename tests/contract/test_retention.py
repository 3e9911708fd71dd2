"""What the retention deletes, in which order, and that nothing else is touched, on each database."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest
from sqlalchemy import select, update

from otel_tracker.errors import CleanupRunningError, StorageUnavailableError
from otel_tracker.query import PageRequest, PruneResult
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status
from otel_tracker.storage import open_store
from otel_tracker.storage.agreed import EXECUTION_BYTES
from otel_tracker.storage.tables import leases, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.storage.store import SqlStore

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NOON = 20_000 * 24 * HOUR + 12 * HOUR  # 2024-10-04T12:00:00Z
PAYLOAD = 1_000
"""Bytes of each execution's payload."""


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with databases.made(request.param, folder=tmp_path / "data") as made:
        yield made


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with closing(open_store(url)) as opened:
        yield opened


def uuid7(number: int) -> str:
    """Of `NOON` and so many seconds."""
    milliseconds = f"{(NOON + number * SECOND) // 1_000_000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-{number:012d}"


def execution(number: int, **changes: Any) -> ExecutionRecord:
    base = ExecutionRecord(
        id=uuid7(number),
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=NOON + number * SECOND,
        end_time=NOON + number * SECOND + 5,
        duration=5,
        input="x" * (PAYLOAD - 2),
        instance_id="one",
    )
    return msgspec.structs.replace(base, **changes)


def failed(number: int, **changes: Any) -> ExecutionRecord:
    return execution(number, status=Status.FAILED, error_type="internal_error", **changes)


def running(number: int, **changes: Any) -> ExecutionRecord:
    return execution(number, status=Status.RUNNING, rank=Rank.RUNNING, duration=0, end_time=None, **changes)


def child(number: int) -> SpanRecord:
    return SpanRecord(
        execution_id=uuid7(number),
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_span_id="c" * 16,
        name="attempt 2",
        kind="internal",
        start_time=NOON + number * SECOND,
        end_time=NOON + number * SECOND + 1,
    )


def kept(store: SqlStore) -> dict[int, bool]:
    """By number, oldest first: whether the payload is there."""
    page = store.page(PageRequest(limit=100_000))
    found = {int(one.id[-12:]): not one.payload_deleted for one in reversed(page.executions)}
    assert all(bool(one.input) is not one.payload_deleted for one in page.executions)
    return found


def stored_bytes(store: SqlStore) -> int:
    with store.database.read() as connection:
        return store.rollups.agreed(connection).stored_bytes


def assert_proven(store: SqlStore) -> None:
    """Rollups and bytes are what a count of the rows gives."""
    check = store.verify_rollups()
    assert (check.is_good, check.total_differences, check.counted_bytes) == (True, 0, check.stored_bytes)


# By age


def test_what_is_old_goes_with_its_children_and_what_runs_stays(store: SqlStore) -> None:
    store.write([execution(1, tags='{"a":"b"}'), running(2), failed(3), child(1), child(2), child(3), execution(9)])
    bounds: dict[str, Any] = {"started_before": NOON + 9 * SECOND}
    assert store.prune(**bounds, dry_run=True) == PruneResult(deleted=2, dry_run=True)
    done = store.prune(**bounds)
    assert (done.deleted, done.payloads_deleted, done.dry_run) == (2, 0, False)
    assert kept(store) == {2: True, 9: True}
    assert [len(store.spans(uuid7(number))) for number in (1, 2, 3)] == [0, 1, 0]
    assert_proven(store)
    again = store.prune(**bounds)
    assert (again.deleted, again.removed_bytes) == (0, 0)


def test_spans_without_an_execution_go_by_their_age(store: SqlStore) -> None:
    store.write([child(1), child(8), running(2), child(2)])
    store.prune(started_before=NOON + 5 * SECOND)
    assert [len(store.spans(uuid7(number))) for number in (1, 2, 8)] == [0, 1, 1]
    assert_proven(store)


def test_a_dry_run_counts_a_bucket_that_is_cut_by_the_moment(store: SqlStore) -> None:
    store.write([execution(number * 600) for number in range(20)])
    for seconds in (0, 1, 3599, 3600, 3601, 7800, 99_999):
        before = NOON + seconds * SECOND
        expected = sum(one * 600 < seconds for one in range(20))
        assert store.prune(started_before=before, dry_run=True).deleted == expected


# By count


def test_of_each_plugin_the_newest_stay(store: SqlStore) -> None:
    rows = [execution(number, plugin_name="ab"[number % 2]) for number in range(20)]
    store.write([*rows, running(20, plugin_name="a"), execution(30, plugin_name="c")])
    bounds: dict[str, Any] = {"max_executions_per_plugin": 3}
    assert store.prune(**bounds, dry_run=True).deleted == 14
    assert store.prune(**bounds).deleted == 14
    assert list(kept(store)) == [14, 15, 16, 17, 18, 19, 20, 30]
    assert_proven(store)


def test_what_age_deletes_is_no_excess_of_count(store: SqlStore) -> None:
    store.write([execution(number) for number in range(10)])
    bounds: dict[str, Any] = {"started_before": NOON + 4 * SECOND, "max_executions_per_plugin": 5}
    assert store.prune(**bounds, dry_run=True).deleted == 5
    assert store.prune(**bounds).deleted == 5
    assert list(kept(store)) == [5, 6, 7, 8, 9]


# By bytes


def test_bytes_go_in_the_order_of_their_worth(store: SqlStore) -> None:
    """Payloads of completed ones, of failed ones, completed ones, failed ones; no more than needed, never what runs."""
    store.write([failed(1), execution(2), execution(3), failed(4), running(5)])
    total = 5 * (EXECUTION_BYTES + PAYLOAD)
    assert stored_bytes(store) == total
    steps = [
        (1, {1: True, 2: False, 3: True, 4: True, 5: True}),
        (PAYLOAD + 1, {1: True, 2: False, 3: False, 4: True, 5: True}),
        (2 * PAYLOAD + 1, {1: False, 2: False, 3: False, 4: True, 5: True}),
        (3 * PAYLOAD + 1, {1: False, 2: False, 3: False, 4: False, 5: True}),
        (4 * PAYLOAD + 1, {1: False, 3: False, 4: False, 5: True}),
        (4 * PAYLOAD + 2 * EXECUTION_BYTES, {1: False, 4: False, 5: True}),
        (4 * PAYLOAD + 3 * EXECUTION_BYTES, {4: False, 5: True}),
        (total, {5: True}),
    ]
    for removed, expected in steps:
        over = max(0, stored_bytes(store) - (total - removed))
        assert store.prune(max_bytes=total - removed, dry_run=True).removed_bytes == over
        store.prune(max_bytes=total - removed)
        assert kept(store) == expected
        assert_proven(store)


def test_nothing_goes_while_there_is_room(store: SqlStore) -> None:
    store.write([execution(1), failed(2)])
    assert store.prune(max_bytes=2 * (EXECUTION_BYTES + PAYLOAD)) == PruneResult()


def test_what_comes_in_behind_is_found_by_the_next_run(store: SqlStore) -> None:
    """A run remembers up to where no payload is left; a late one moves that back."""
    store.write([execution(number) for number in range(10, 20)])
    store.prune(max_bytes=10 * EXECUTION_BYTES)
    store.write([execution(5), execution(30)])
    store.prune(max_bytes=12 * EXECUTION_BYTES + PAYLOAD)
    assert [number for number, has_payload in kept(store).items() if has_payload] == [30]
    store.write([running(1), running(40)])
    store.interrupt("one", now=NOON + 50 * SECOND)
    store.prune(max_bytes=14 * EXECUTION_BYTES + PAYLOAD)
    assert [number for number, has_payload in kept(store).items() if has_payload] == [40]
    assert_proven(store)


def test_a_version_that_knows_more_brings_its_payload_back(store: SqlStore) -> None:
    store.write([running(1)])
    store.interrupt("one", now=NOON + 9 * SECOND)
    store.prune(max_bytes=EXECUTION_BYTES)
    assert kept(store) == {1: False}
    store.write([execution(1)])
    assert (kept(store), stored_bytes(store)) == ({1: True}, EXECUTION_BYTES + PAYLOAD)
    assert_proven(store)


def test_bytes_are_those_of_utf_8_whatever_comes_again(store: SqlStore) -> None:
    store.write([running(1, input='"é€😀"', tags='{"a":"b"}'), child(1)])
    size = EXECUTION_BYTES + len('"é€😀"'.encode()) + len("{}")
    span = len(uuid7(1)) + 16 + 32 + 16 + len("attempt 2internalunset{}[]")
    assert stored_bytes(store) == size + span
    store.write([running(1), child(1)])
    assert stored_bytes(store) == size + span
    store.write([execution(1, input='"longer, and with the end"', output="1"), execution(2, input="a\0b")])
    assert_proven(store)


def test_a_wrong_sum_is_told_and_repaired(store: SqlStore) -> None:
    store.write([execution(1)])
    with store.database.write() as connection:
        connection.execute(update(settings).where(settings.c.name == "stored_bytes").values(value=7))
    check = store.verify_rollups()
    assert (check.is_good, check.stored_bytes, check.counted_bytes) == (False, 7, EXECUTION_BYTES + PAYLOAD)
    assert store.verify_rollups(repair=True).is_good
    assert_proven(store)


# One at a time, cut short, and beside writers


def test_one_process_cleans_at_a_time(store: SqlStore, url: str) -> None:
    store.write([execution(number) for number in range(10)])
    refused: list[CleanupRunningError] = []

    def meanwhile(_: PruneResult) -> bool:
        with pytest.raises(CleanupRunningError) as caught:
            other.prune(started_before=NOON)
        refused.append(caught.value)
        assert other.prune(started_before=NOON, dry_run=True).dry_run
        return True

    with closing(open_store(url)) as other:
        assert store.prune(started_before=NOON + 5 * SECOND, on_batch=meanwhile).deleted == 5
        assert other.prune(started_before=NOON + 6 * SECOND).deleted == 1
    assert refused[0].holder.startswith("process ")
    assert 0 < refused[0].seconds <= 60


def test_who_lost_the_lease_stops(store: SqlStore) -> None:
    store.write([execution(number) for number in range(500)])

    def steal(_: PruneResult) -> bool:
        with store.database.write() as connection:
            connection.execute(update(leases).values(holder="another"))
        return True

    with pytest.raises(StorageUnavailableError, match="another process took the cleanup over"):
        store.prune(started_before=NOON + 500 * SECOND, on_batch=steal)
    assert 0 < len(kept(store)) < 500
    assert_proven(store)
    with store.database.read() as connection:
        assert connection.execute(select(leases.c.holder)).scalar_one() == "another"


def test_a_run_that_is_told_to_stop_stops_and_the_next_goes_on(store: SqlStore) -> None:
    store.write([execution(number) for number in range(500)])
    first = store.prune(started_before=NOON + 400 * SECOND, on_batch=lambda _: False)
    assert 0 < first.deleted < 400
    assert_proven(store)
    assert store.prune(started_before=NOON + 400 * SECOND).deleted == 400 - first.deleted
    last = store.last_cleanup()
    assert last is not None
    assert last.deleted == 400 - first.deleted


KILLED = """
import os, signal, sys
from otel_tracker.storage import open_store

store, batches = open_store(sys.argv[1]), 0

def die(done):
    global batches
    batches += 1
    if batches == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

store.prune(**eval(sys.argv[2]), on_batch=die)
"""


@pytest.mark.parametrize(
    "bounds",
    [
        {"started_before": NOON + 500 * SECOND},
        {"max_executions_per_plugin": 100},
        {"max_bytes": 200 * EXECUTION_BYTES},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
def test_a_killed_run_leaves_everything_right_and_its_lease_runs_out(
    store: SqlStore, url: str, bounds: dict[str, Any]
) -> None:
    store.write([execution(number) for number in range(600)])
    done = subprocess.run([sys.executable, "-c", KILLED, url, repr(bounds)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert_proven(store)
    shed = 600 * (EXECUTION_BYTES + PAYLOAD) - stored_bytes(store)
    assert shed > 0
    with pytest.raises(CleanupRunningError):
        store.prune(**bounds)
    with store.database.write() as connection:
        connection.execute(update(leases).values(expires_at=leases.c.expires_at - 61 * SECOND))
    rest = store.prune(**bounds)
    assert rest.removed_bytes + shed == 600 * (EXECUTION_BYTES + PAYLOAD) - stored_bytes(store)
    assert (
        len(kept(store))
        == {"started_before": 100, "max_executions_per_plugin": 100, "max_bytes": 200}[next(iter(bounds))]
    )
    assert_proven(store)


def test_others_write_between_small_batches(store: SqlStore, url: str) -> None:
    """Each transaction deletes a bounded number, and after each of them a writer's batch goes through."""
    store.write([execution(number) for number in range(3000)])
    sizes: list[int] = []

    def write(done: PruneResult) -> bool:
        sizes.append(done.deleted - sum(sizes))
        first = 10_000 + 10 * len(sizes)
        assert writer.write([execution(number) for number in range(first, first + 10)]).stored == 10
        return True

    with closing(open_store(url)) as writer:
        assert store.prune(started_before=NOON + 3000 * SECOND, on_batch=write).deleted == 3000
    assert max(sizes) <= 2000
    assert sizes[0] <= 100
    assert len(kept(store)) == 10 * len(sizes)
    assert_proven(store)


def test_big_payloads_are_few_in_a_batch(store: SqlStore) -> None:
    store.write([execution(number, input="x" * 1_000_000) for number in range(20)])
    sums: list[int] = []

    def add(done: PruneResult) -> bool:
        sums.append(done.removed_bytes)
        return True

    store.prune(started_before=NOON + 20 * SECOND, on_batch=add)
    steps = [later - earlier for earlier, later in zip([0, *sums], sums, strict=False)]
    assert max(steps) <= (4 << 20) + 1_000_000 + 2 * EXECUTION_BYTES


def test_a_file_is_about_as_large_as_max_bytes_after_a_cleanup(tmp_path: Path) -> None:
    path = tmp_path / "data" / "executions.db"
    with closing(open_store(f"sqlite:///{path}")) as store:
        for first in range(0, 20_000, 1000):
            store.write([
                execution(number, trace_id=f"{number:032x}", delivery_id=f"{number:036d}", instance_id="i" * 36)
                for number in range(first, first + 1000)
            ])  # fmt: skip
        for most in (25_000_000, 16_000_000, 8_000_000):
            freed = store.prune(max_bytes=most).freed_bytes
            assert freed > 0
            assert 0.7 < path.stat().st_size / most < 1.35
            assert Path(f"{path}-wal").stat().st_size < 100_000
