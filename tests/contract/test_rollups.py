"""The rollups equal a recount of the records at every moment, however the records come, go, and are cut short."""

from __future__ import annotations

import contextlib
import math
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from otel_tracker.errors import ConfigurationError
from otel_tracker.query import PageRequest
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store
from otel_tracker.storage.store import SqlStore
from otel_tracker.storage.tables import executions, leases, rollup_durations, rollups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
LONGEST = 2**53
NOON = 20_000 * DAY + 12 * HOUR  # 2024-10-04T12:00:00Z
Group = tuple[int, int, str, str, str]
Figures = tuple[int, int, int, int, int]


@pytest.fixture(params=databases.KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with databases.made(request.param, folder=tmp_path / "data") as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    opened = opened_store(store_url)
    yield opened
    opened.close()


def opened_store(url: str, **arguments: Any) -> SqlStore:
    store = open_store(url, **arguments)
    assert isinstance(store, SqlStore)
    return store


def execution(number: int = 1, **changes: Any) -> ExecutionRecord:
    base = ExecutionRecord(
        id=f"01970000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=NOON,
        end_time=NOON + 5,
        duration=5,
        instance_id="one",
    )
    return msgspec.structs.replace(base, **changes)


def running(number: int = 1, **changes: Any) -> ExecutionRecord:
    return execution(number, status=Status.RUNNING, rank=Rank.RUNNING, duration=0, end_time=None, **changes)


# The oracle: counted here with other means than the product's, from whole records and from whole tables.


def recounted(records: Iterable[ExecutionRecord]) -> tuple[dict[Group, Figures], Counter[tuple[int, int, str, int]]]:
    groups: dict[Group, list[ExecutionRecord]] = {}
    slots: Counter[tuple[int, int, str, int]] = Counter()
    for record in records:
        for width in (HOUR, DAY):
            start = record.start_time - record.start_time % width
            key = (width, start, record.plugin_name, record.status.value, record.error_type)
            groups.setdefault(key, []).append(record)
            if is_timed(record):
                slot = math.floor(8 * math.log2(took(record))) if took(record) else -1
                slots[width, start, record.plugin_name, slot] += 1
                slots[-width, start, "", slot] += 1
    return {key: figures(found) for key, found in groups.items()}, slots


def figures(records: list[ExecutionRecord]) -> Figures:
    taken = [took(record) for record in records if is_timed(record)]
    return len(records), len(taken), sum(taken), min(taken, default=LONGEST), max(taken, default=0)


def is_timed(record: ExecutionRecord) -> bool:
    return record.rank is Rank.ENDED and record.status.is_final


def took(record: ExecutionRecord) -> int:
    return sorted((0, record.duration, LONGEST))[1]


def kept(store: SqlStore, *, pruned: int) -> tuple[dict[Group, Figures], Counter[tuple[int, int, str, int]]]:
    with store._database.read() as connection:
        counts = connection.execute(select(rollups).where(rollups.c.pruned == pruned)).all()
        slots = connection.execute(select(rollup_durations).where(rollup_durations.c.pruned == pruned)).all()
    return (
        {tuple(row[:5]): tuple(row[6:]) for row in counts if row.total},
        Counter(
            {
                (*row[:3], 8 * row.octave + number): total
                for row in slots
                for number, total in enumerate(row[5:])
                if total
            }
        ),
    )


def history(store: SqlStore) -> list[ExecutionRecord]:
    return store.page(PageRequest(limit=100_000, with_payloads=False, with_total=False)).executions


def assert_equal_to_a_recount(store: SqlStore, gone: Iterable[ExecutionRecord] = ()) -> None:
    (counts, slots), (expected, expected_slots) = kept(store, pruned=0), recounted(history(store))
    gone_counts, gone_slots = kept(store, pruned=1)
    assert (gone_counts, gone_slots) == recounted(gone)
    assert slots == expected_slots
    assert with_bounds(counts, gone_counts) == with_bounds(expected, gone_counts)
    check = store.verify_rollups()
    assert (check.differences, check.is_good, check.checked_executions) == ((), True, len(history(store)))


def with_bounds(counts: dict[Group, Figures], gone: dict[Group, Figures]) -> dict[Group, Figures]:
    """Deleting shrinks no minimum: it may come from what is left or from what is gone."""
    nothing = (0, 0, 0, LONGEST, 0)
    return {
        key: (*found[:3], min(found[3], gone.get(key, nothing)[3]), max(found[4], gone.get(key, nothing)[4]))
        for key, found in counts.items()
    }


starts = st.one_of(
    st.integers(-2, 50).map(lambda hours: hours * HOUR),
    st.integers(-DAY, DAY),
    st.sampled_from([NOON, NOON + 1, NOON + HOUR - 1, -1]),
)
versions = st.builds(
    execution,
    st.integers(1, 6),
    plugin_name=st.sampled_from(["greet", "Greet", "größe"]),
    start_time=starts,
    status=st.sampled_from(list(Status)),
    error_type=st.sampled_from(["", "timeout", "interrupted"]),
    rank=st.sampled_from(list(Rank)),
    duration=st.one_of(st.integers(-1, 300), st.sampled_from([10**9, LONGEST, LONGEST + 1, 2**62])),
    instance_id=st.sampled_from(["one", "two"]),
)
operations = st.one_of(
    st.lists(versions, min_size=1, max_size=8),
    st.sampled_from(["interrupt one", "interrupt two"]),
    starts.map(lambda before: before + 1),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=st.lists(operations, min_size=1, max_size=8))
def test_rollups_equal_a_recount_whatever_comes_in_which_order(
    store: SqlStore, steps: list[list[ExecutionRecord] | str | int]
) -> None:
    """Twice, late, in any order, with another plugin, start or end than before; interrupted; deleted: at each step."""
    databases.empty(store)
    gone: list[ExecutionRecord] = []
    for step in steps:
        match step:
            case str():
                store.interrupt(step.removeprefix("interrupt "), now=NOON)
            case int():
                before = history(store)
                store.prune(started_before=step)
                left = {record.id for record in history(store)}
                gone += [record for record in before if record.id not in left]
            case _:
                store.write(step)
                store.write(step)
        assert_equal_to_a_recount(store, gone)


def test_a_row_that_is_refused_counts_as_it_is_stored(store: SqlStore) -> None:
    bad = {"duration": 2**70, "plugin_name": 7, "start_time": -(2**70), "error_type": "a\0b"}
    store.write([execution(number, **{name: value}) for number, (name, value) in enumerate(bad.items(), start=1)])
    assert store.verify_rollups().differences == ()
    assert store.verify_rollups().checked_executions == 4


_WRITER = """
import contextlib, random, sys
from otel_tracker.errors import CleanupRunningError
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

store, chance = open_store(sys.argv[1]), random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    rows = []
    for _ in range(chance.randint(1, 60)):
        rank = chance.choice(list(Rank))
        status = chance.choice([Status.RUNNING] if rank < 2 else [Status.COMPLETED, Status.FAILED])
        start = chance.randrange(90) * 3_600_000_000_000
        number = chance.randrange(3000)
        rows.append(ExecutionRecord(
            id=f"{number:036d}", plugin_name=f"p{number % 3}", status=status, start_time=start, rank=rank,
            duration=chance.randrange(10**9), instance_id=f"i{number % 5}", input="x" * 200))
    store.write(rows)
    if chance.random() < 0.05:
        store.interrupt(f"i{chance.randrange(5)}", now=10**15)
    if chance.random() < 0.02:
        with contextlib.suppress(CleanupRunningError):  # the one beside it does
            store.prune(started_before=chance.randrange(60) * 3_600_000_000_000)
"""


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_rollups_equal_a_recount_after_kills(store_url: str, kills: int) -> None:
    """A process that writes, interrupts and deletes is killed at any moment, with another one beside it."""
    chance = random.Random(1)  # noqa: S311 - chooses moments, guards nothing
    store = opened_store(store_url)
    for kill in range(kills):
        command = [sys.executable, "-c", _WRITER, store_url]
        writers = [subprocess.Popen([*command, str(kill + 1000 * side)], stdout=subprocess.PIPE) for side in (0, 1)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.05, 0.4))
        assert store.verify_rollups().differences == ()  # while they write
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
            assert writer.returncode == -signal.SIGKILL
        with store.database.write() as connection:  # a minute later
            connection.execute(leases.update().values(expires_at=0))
        check = store.verify_rollups()
        assert (check.differences, check.checked_executions) == ((), len(history(store)))
        counts, slots = kept(store, pruned=0)
        expected, expected_slots = recounted(history(store))
        assert slots == expected_slots
        assert {key: found[:3] for key, found in counts.items()} == {k: found[:3] for k, found in expected.items()}
    assert store.verify_rollups().checked_executions > 500
    store.close()


def test_a_figure_that_was_changed_is_found_and_put_right(store: SqlStore) -> None:
    store.write([execution(1), execution(2, start_time=NOON + HOUR, status=Status.FAILED, error_type="timeout")])
    with store._database.write() as connection:
        hour = (rollups.c.width == HOUR, rollups.c.bucket_start == NOON)
        connection.execute(update(rollups).where(*hour).values(total=7))
        connection.execute(rollup_durations.delete().where(rollup_durations.c.width == DAY))
    check = store.verify_rollups()
    assert not check.is_good
    assert [(one.bucket_seconds, one.bucket_start, one.figure, one.group, one.stored, one.counted)
            for one in check.differences] == [
        (3600, NOON, "total", "completed", 7, 1),
        (86_400, NOON - NOON % DAY, "slot", "18", 0, 2),
    ]  # fmt: skip
    repaired = store.verify_rollups(repair=True)
    assert (repaired.total_differences, repaired.repaired_buckets, repaired.is_good) == (2, 2, True)
    assert_equal_to_a_recount(store)


def test_a_repair_beside_a_process_that_writes_loses_nothing(store: SqlStore, store_url: str) -> None:
    command = [sys.executable, "-c", _WRITER, store_url, "1"]
    repaired = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer, contextlib.ExitStack() as stack:
        stack.callback(writer.kill)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for damage in range(5):
            time.sleep(0.1)
            with store._database.write() as connection:
                store.rollups.begin(connection)  # as every writer does: without it, servers have two of them deadlock
                connection.execute(update(rollups).where(rollups.c.pruned == 0).values(total=rollups.c.total + damage))
            repaired += store.verify_rollups(repair=True).repaired_buckets
    assert repaired > 5
    assert store.verify_rollups().differences == ()


def test_a_record_that_was_changed_behind_the_rollups_is_found(store: SqlStore) -> None:
    store.write([execution(number) for number in range(1, 4)])
    with store._database.write() as connection:
        connection.execute(update(executions).where(executions.c.id == execution(1).id).values(duration=900))
    found = store.verify_rollups().differences
    assert {one.figure for one in found} == {"duration_sum", "duration_min", "duration_max", "slot"} - {"duration_min"}
    store.verify_rollups(repair=True)
    assert_equal_to_a_recount(store)


def test_rollups_outlive_their_records(store: SqlStore) -> None:
    store.write([execution(1), running(2), execution(3, start_time=NOON + DAY)])
    store.prune(started_before=NOON + HOUR)
    check = store.verify_rollups()
    assert (check.differences, check.checked_executions, check.unchecked_executions) == ((), 2, 1)
    assert store.verify_rollups(repair=True).unchecked_executions == 1
    assert store.prune_rollups(started_before=NOON + HOUR) == 0  # the running one is still there
    store.write([execution(2)])
    store.prune(started_before=NOON + HOUR)
    assert store.prune_rollups(started_before=NOON + HOUR) == 1
    assert store.prune_rollups(started_before=NOON + DAY) == 1
    assert_equal_to_a_recount(store)


@pytest.mark.parametrize("minutes", [5, 30, 180, 1440])
def test_another_interval_is_told_and_a_repair_rebuilds(
    store: SqlStore, store_url: str, caplog: pytest.LogCaptureFixture, minutes: int
) -> None:
    """Until then the store keeps its own, whoever writes."""
    store.write([execution(number, start_time=NOON + number * HOUR // 7, duration=number) for number in range(90)])
    store.prune(started_before=NOON + HOUR)
    other = opened_store(store_url, bucket_seconds=minutes * 60)
    assert f"are in buckets of 3600 s, not {minutes * 60} s" in caplog.text
    other.write([execution(100)])
    assert_differs_in_width_only(other, minutes)
    rebuilt = other.verify_rollups(repair=True)
    assert (rebuilt.rebuilt, rebuilt.is_good, rebuilt.bucket_seconds) == (True, True, minutes * 60)
    assert (rebuilt.checked_executions, rebuilt.unchecked_executions) == (84, 7)
    store.write([execution(101)])  # opened with the old one, and counts in the new
    assert other.verify_rollups().is_good
    with other._database.read() as connection:
        rows = connection.execute(select(rollups.c.width, rollups.c.total)).all()
    totals = {width: sum(row.total for row in rows if row.width == width) for width, _ in rows}
    assert totals == {minutes * 60_000_000_000: 92, DAY: 92}
    other.close()


def test_what_was_deleted_from_several_buckets_moves_into_a_wider_one(store: SqlStore, store_url: str) -> None:
    store.write([execution(number, start_time=NOON + number * HOUR) for number in range(4)])
    store.prune(started_before=NOON + 3 * HOUR)
    other = opened_store(store_url, bucket_seconds=3 * 3600)
    rebuilt = other.verify_rollups(repair=True)
    assert (rebuilt.is_good, rebuilt.checked_executions, rebuilt.unchecked_executions) == (True, 1, 3)
    with other._database.read() as connection:
        pruned = select(rollups.c.bucket_start, rollups.c.total).where(rollups.c.pruned == 1, rollups.c.width != DAY)
        assert [tuple(row) for row in connection.execute(pruned)] == [(NOON, 3)]
    other.close()


def assert_differs_in_width_only(store: SqlStore, minutes: int) -> None:
    check = store.verify_rollups()
    assert (check.is_good, check.differences) == (False, ())
    assert (check.bucket_seconds, check.configured_bucket_seconds) == (3600, minutes * 60)


@pytest.mark.parametrize("seconds", [0, 30, 7 * 3600, 2 * 86_400])
def test_an_interval_that_does_not_fit_a_day_is_refused(store_url: str, seconds: int) -> None:
    with pytest.raises(ConfigurationError, match=f"bucket_seconds is {seconds}: expected a whole fraction of a day"):
        open_store(store_url, bucket_seconds=seconds)
