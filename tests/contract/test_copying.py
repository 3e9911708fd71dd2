"""A copy is the same history in another database: whatever databases, however often, and however it was cut short."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest
from sqlalchemy import func, or_, select, update

from otel_tracker.errors import StorageSchemaError
from otel_tracker.query import PageRequest
from otel_tracker.record import ExecutionRecord, Rank, Row, SpanRecord, Status
from otel_tracker.storage import histories, open_store
from otel_tracker.storage.copying import CopyResult, HistoryCopy
from otel_tracker.storage.tables import SLOTS, executions, payloads, rollup_durations, rollups, settings, spans, tags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Table

    from otel_tracker.storage.store import SqlStore

HOUR = 3_600_000_000_000
NOON = 20_000 * 24 * HOUR + 12 * HOUR  # 2024-10-04T12:00:00Z
END_OF_TIME = 2**63 - 1
PAIRS = list(itertools.product(databases.KINDS, repeat=2))
RING = list(zip(databases.KINDS, (*databases.KINDS[1:], databases.KINDS[0]), strict=True))
"""Each database once as the source and once as the target: enough where the rows themselves are not the question."""
UNUSUAL = "Größe 😀 \u202e\ufdfa %s ' \" \\ \x01\t\r\n \ufffd\uffff"


@pytest.fixture
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    source, target = getattr(request, "param", ("sqlite", "sqlite"))
    with (
        databases.made(source, folder=tmp_path / "source") as source_url,
        databases.made(target, folder=tmp_path / "target") as target_url,
    ):
        yield source_url, target_url


@pytest.fixture
def source(urls: tuple[str, str]) -> Iterator[SqlStore]:
    store = open_store(urls[0])
    yield store
    store.close()


@pytest.fixture
def target(urls: tuple[str, str]) -> Iterator[SqlStore]:
    store = open_store(urls[1])
    yield store
    store.close()


def execution(number: int = 1, **changes: Any) -> ExecutionRecord:
    base = ExecutionRecord(
        id=f"01970000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=NOON + number,
        end_time=NOON + number + 5,
        duration=5,
        input='{"key":"value"}',
        instance_id="one",
        tags=f'{{"job":"{number}"}}',
    )
    return msgspec.structs.replace(base, **changes)


def running(number: int = 1, **changes: Any) -> ExecutionRecord:
    return execution(number, status=Status.RUNNING, rank=Rank.RUNNING, duration=0, end_time=None, **changes)


def span(number: int = 1, **changes: Any) -> SpanRecord:
    base = SpanRecord(
        execution_id=execution(number).id,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id=f"{number:016x}",
        parent_span_id="00f067aa0ba902b7",
        name="look up",
        kind="client",
        start_time=NOON + number,
        end_time=NOON + number + 2,
    )
    return msgspec.structs.replace(base, **changes)


ROWS: list[Row] = [
    execution(1, plugin_name="größe", input=UNUSUAL, output=UNUSUAL, error=UNUSUAL, user_agent=UNUSUAL),
    execution(2, tags='{"b":"ä😀","B":"","a-1":"\\u202e","a_1":7,"n":null}', created_at=7, updated_at=NOON + 99),
    execution(3, status=Status.FAILED, error_type="ValueError", traceback="x" * 5_000_000, logs="ü" * 1_000_000),
    execution(4, start_time=-HOUR, end_time=None, duration=0, input="", output=""),
    running(5),
    running(6, instance_id="two"),
    execution(7, start_time=NOON, end_time=NOON + HOUR, duration=HOUR),
    execution(8, start_time=NOON),
    span(1, attributes=f'{{"text":"{"y" * 3_000_000}"}}', error=UNUSUAL, status="error"),
    span(1, span_id="00f067aa0ba902b8", name="größe"),
    span(99),
]


def filled(store: SqlStore) -> None:
    """Every kind of row there is, ended, concluded, pruned, and left over."""
    gone = [execution(number, start_time=NOON - 90 * 24 * HOUR + number * HOUR) for number in range(100, 140)]
    store.write([*gone, running(141, start_time=NOON - 80 * 24 * HOUR)])
    store.prune(started_before=NOON - 70 * 24 * HOUR)
    assert store.write(ROWS).rejected == ()
    store.interrupt("two", now=NOON + HOUR)


def copied(source: SqlStore, target: SqlStore, *, started_before: int = END_OF_TIME) -> CopyResult:
    return HistoryCopy(source, target, started_before=started_before).run(advance=lambda _work, _count: None)


def contents(store: SqlStore, table: Table, *conditions: Any) -> list[tuple[Any, ...]]:
    columns = [column for column in table.columns if column is not payloads.c.rank]
    with store.database.read() as connection:
        return sorted((tuple(row) for row in connection.execute(select(*columns).where(*conditions))), key=repr)


def assert_same_history(source: SqlStore, target: SqlStore) -> None:
    """By whole tables, not by what is tested."""
    for table in (executions, payloads, tags, spans):
        assert contents(target, table) == contents(source, table)
    of_the_history = settings.c.name.in_(("bucket_nanoseconds", "stored_bytes"))  # the rest is of cleanups
    assert contents(target, settings, of_the_history) == contents(source, settings, of_the_history)
    for table in (rollups, rollup_durations):
        assert contents(target, table, table.c.pruned == 1) == contents(source, table, table.c.pruned == 1)
        is_something = or_(*(column != 0 for column in table.c if column.name in {"total", *SLOTS}))
        there, here = (contents(store, table, table.c.pruned == 0, is_something) for store in (target, source))
        assert [row[:7] for row in there] == [row[:7] for row in here]
    check = target.verify_rollups()
    assert (check.differences, check.is_good) == ((), True)


@pytest.mark.parametrize("urls", PAIRS, indirect=True, ids="-".join)
def test_a_copy_is_the_same_history_in_every_database(source: SqlStore, target: SqlStore) -> None:
    filled(source)
    result = copied(source, target)
    assert (result.rejected, result.check.differences, result.check.is_equal) == ((), (), True)
    assert [(one.table, one.source_rows) for one in result.check.tables] == [
        ("executions", 9), ("execution_payloads", 9), ("execution_tags", 13), ("spans", 3),
        ("rollups", 43), ("rollup_durations", 86), ("settings", 1),
    ]  # fmt: skip
    assert_same_history(source, target)
    assert copied(source, target).written == 0
    assert_same_history(source, target)


def test_the_hashes_are_the_same_whatever_the_databases(tmp_path: Path) -> None:
    found = set()
    for kind in databases.KINDS:
        with (
            databases.made(kind, folder=tmp_path / "one") as one,
            databases.made("sqlite", folder=tmp_path / kind) as two,
        ):
            source, target = open_store(one), open_store(two)
            filled(source)
            found.add(tuple(table.source_sha256 for table in copied(source, target).check.tables))
            source.close()
            target.close()
    assert len(found) == 1


@pytest.mark.parametrize("urls", RING, indirect=True, ids="-".join)
def test_a_second_copy_brings_what_ended_and_what_came_since(source: SqlStore, target: SqlStore) -> None:
    filled(source)
    copied(source, target)
    source.write([execution(5, output="done", tags='{"new":"tag"}'), execution(6), execution(20), span(2), span(20)])
    source.write([execution(99)])
    result = copied(source, target)
    assert result.check.is_equal
    assert_same_history(source, target)
    ended = target.get(execution(5).id)
    assert ended is not None
    assert (ended.status, ended.output, ended.tags) == (Status.COMPLETED, "done", '{"new":"tag"}')


def test_what_started_after_the_copy_is_left_out(source: SqlStore, target: SqlStore) -> None:
    source.write([execution(1), execution(2), span(2), span(3)])
    assert copied(source, target, started_before=NOON + 2).check.is_equal
    assert [one.id for one in history(target)] == [execution(1).id]
    assert target.spans(execution(3).id) == []


def test_what_ends_between_copying_and_comparing_is_copied_too(source: SqlStore, target: SqlStore) -> None:
    source.write([running(number) for number in range(1, 4)])

    def ending(work: str, _count: int) -> None:
        if work == "copying":
            source.write([execution(number) for number in range(1, 4)])

    assert HistoryCopy(source, target, started_before=END_OF_TIME).run(advance=ending).check.is_equal
    assert_same_history(source, target)


_COPYING = """
import sys
from otel_tracker.storage import histories, open_store
from otel_tracker.storage.copying import HistoryCopy

histories.PAGE_IDS = 50
source, target = open_store(sys.argv[1]), open_store(sys.argv[2])
print("ready", flush=True)
HistoryCopy(source, target, started_before=2**63 - 1).run(advance=lambda work, _: (print(work, flush=True), input()))
"""


@pytest.mark.parametrize("urls", RING, indirect=True, ids="-".join)
def test_a_copy_that_was_killed_goes_on_where_it_stopped(
    source: SqlStore, target: SqlStore, urls: tuple[str, str]
) -> None:
    filled(source)
    source.write([row for number in range(1000, 2400) for row in (execution(number), span(number))])
    before = 0
    for kill in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _COPYING, *urls], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            for _ in range(8 * (kill + 1)):
                assert process.stdout.readline() == b"copying\n"
                process.stdin.write(b"\n")
                process.stdin.flush()
            time.sleep(0.003 * kill)  # into the next batch, behind which it would wait
            process.send_signal(signal.SIGKILL)
        after = count(target)
        assert before < after < count(source)
        assert target.verify_rollups().differences == ()
        before = after
    result = copied(source, target)
    assert result.check.is_equal
    assert 0 < result.written < count(source) + count(source, spans)
    assert_same_history(source, target)


def count(store: SqlStore, table: Table = executions) -> int:
    with store.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def history(store: SqlStore) -> list[ExecutionRecord]:
    return store.page(PageRequest(limit=100_000, with_payloads=False, with_total=False)).executions


@pytest.mark.parametrize(
    ("table", "change", "difference"),
    [
        (executions, {"error": "planted"}, "another value"),
        (executions, {"updated_at": 1}, "another value"),
        (payloads, {"output": "planted"}, "another value"),
        (tags, {"value": "planted"}, "another value"),
        (spans, {"name": "planted"}, "another value"),
        (spans, None, "missing in the target"),
        (tags, None, "missing in the target"),
        (payloads, None, "missing in the target"),
    ],
)
@pytest.mark.parametrize("urls", [("sqlite", kind) for kind in databases.KINDS], indirect=True, ids="-".join)
def test_a_planted_difference_is_found(
    source: SqlStore, target: SqlStore, table: Table, change: dict[str, Any] | None, difference: str
) -> None:
    source.write([row for number in range(1, 10) for row in (execution(number), span(number))])
    copied(source, target)
    planted = next(iter(table.c)) == execution(7).id
    with target.database.write() as connection:
        connection.execute(
            table.delete().where(planted) if change is None else update(table).where(planted).values(change)
        )
    check = HistoryCopy(source, target, started_before=END_OF_TIME).verify(advance=lambda _work, _count: None)
    assert not check.is_equal
    assert [(one.table, one.key, one.difference) for one in check.differences] == [
        (table.name, execution(7).id, difference)
    ]
    assert [one.table for one in check.tables if not one.is_equal] == [table.name]


def test_a_planted_difference_of_the_statistics_is_found(source: SqlStore, target: SqlStore) -> None:
    filled(source)
    copied(source, target)
    with target.database.write() as connection:
        connection.execute(update(rollups).where(rollups.c.pruned == 1).values(total=rollups.c.total + 1))
        connection.execute(update(rollups).where(rollups.c.pruned == 0).values(total=rollups.c.total + 1))
    copy = HistoryCopy(source, target, started_before=END_OF_TIME)
    check = copy.verify(advance=lambda _work, _count: None)
    assert [one.table for one in check.tables if not one.is_equal] == ["rollups"]
    assert check.rollups.total_differences > 0
    target.verify_rollups(repair=True)
    assert copied(source, target).check.is_equal  # the pruned ones come again


def test_an_execution_that_only_the_target_has_is_told_and_refused(source: SqlStore, target: SqlStore) -> None:
    source.write([execution(1)])
    target.write([execution(2)])
    copy = HistoryCopy(source, target, started_before=END_OF_TIME)
    found = {(one.key, one.difference) for one in copy.verify(advance=lambda _work, _count: None).differences}
    assert found == {(execution(1).id, "missing in the target"), (execution(2).id, "unknown to the source")}
    with pytest.raises(
        StorageSchemaError, match=f"executions that the source does not have, such as {execution(2).id}"
    ):
        copied(source, target)
    assert [one.id for one in history(target)] == [execution(2).id]


def test_a_copy_follows_when_both_sides_deleted_what_is_old(source: SqlStore, target: SqlStore) -> None:
    source.write([execution(number, start_time=NOON + number * HOUR) for number in range(1, 50)])
    copied(source, target)
    source.prune(started_before=NOON + 20 * HOUR)
    with pytest.raises(StorageSchemaError, match="webhook-bridge cleanup"):
        copied(source, target)
    target.prune(started_before=NOON + 20 * HOUR)
    assert copied(source, target).check.is_equal
    assert_same_history(source, target)


@pytest.mark.parametrize("urls", [(kind, kind) for kind in databases.KINDS], indirect=True, ids="-".join)
def test_the_same_database_under_another_name_is_refused(
    source: SqlStore, urls: tuple[str, str], tmp_path: Path
) -> None:
    url = urls[0].replace("127.0.0.1", "localhost")
    if url.startswith("sqlite"):
        (tmp_path / "other").symlink_to(tmp_path / "source")
        url = url.replace("/source/", "/other/")
    same = open_store(url)
    with pytest.raises(StorageSchemaError, match="is the store that is to be copied: name another database"):
        HistoryCopy(source, same, started_before=END_OF_TIME)
    same.close()


def test_a_target_with_other_buckets_is_refused(source: SqlStore, target: SqlStore, urls: tuple[str, str]) -> None:
    other = open_store(urls[0], bucket_seconds=300)
    other.write([execution(1)])
    source.write([execution(2)])
    target.write([execution(2)])
    with pytest.raises(StorageSchemaError, match="in buckets of 3600 s, the source of 300 s"):
        copied(source, target)
    other.close()


def test_rows_are_written_in_transactions_of_bounded_size(
    source: SqlStore, target: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory does not grow with payloads, nor with the history."""
    monkeypatch.setattr(histories, "PAGE_IDS", 10)
    monkeypatch.setattr(histories, "PART_CHARACTERS", 2_000)
    source.write([execution(number, input="x" * 900 * (number % 4)) for number in range(1, 26)])
    done: list[int] = []
    HistoryCopy(source, target, started_before=END_OF_TIME).run(
        advance=lambda work, count: done.append(count) if work == "copying" and count else None
    )
    assert sum(done) == 25
    assert max(done) <= 3
    assert_same_history(source, target)
