"""What holds for the SQLite file alone: faults of files, two processes, query plans."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import event

from otel_tracker.errors import ConfigurationError, StorageSchemaError, StorageUnavailableError
from otel_tracker.query import ExecutionFilter, PageRequest
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store, reader
from otel_tracker.storage.query import encode_cursor
from otel_tracker.storage.store import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Row as SqlRow
    from sqlalchemy.engine import Connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "executions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{path}")
    assert isinstance(opened, SqlStore)
    yield opened
    opened.close()


def execution(number: int, *, status: Status = Status.COMPLETED, prefix: str = "a") -> ExecutionRecord:
    return ExecutionRecord(
        id=f"{prefix}-{number:08d}", plugin_name="greet", status=status, start_time=number, trace_id=f"{number:032x}"
    )


def test_folder_and_file_are_private(store: SqlStore, path: Path) -> None:
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("hello, I am a text file, and long enough to be read as a header" * 20)
    with pytest.raises(StorageSchemaError, match="is not an SQLite database"):
        open_store(f"sqlite:///{tmp_path}/x.db")


def test_another_programs_tables_are_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StorageSchemaError, match="another program's tables"):
        open_store(f"sqlite:///{tmp_path}/x.db")


def test_a_path_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError, match=r"cannot open .*file/x\.db: File exists"):
        open_store(f"sqlite:///{tmp_path}/file/x.db")


def test_a_history_in_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        open_store("sqlite://")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write read-only files")
def test_a_read_only_file_is_unavailable(path: Path) -> None:
    open_store(f"sqlite:///{path}").close()
    path.chmod(0o400)
    with pytest.raises(StorageUnavailableError, match="Permission denied"):
        open_store(f"sqlite:///{path}")


def _plant(store: SqlStore, pragma: str) -> None:
    with store._database.writer.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")


def test_a_write_to_a_read_only_connection_is_unavailable_and_recovers(store: SqlStore) -> None:
    """The connection is thrown away, so the next write opens a good one."""
    _plant(store, "query_only=ON")
    with pytest.raises(StorageUnavailableError, match="readonly"):
        store.write([execution(1)])
    assert store.write([execution(1)]).stored == 1


def test_a_full_disk_is_unavailable_and_keeps_nothing_of_the_batch(store: SqlStore) -> None:
    store.write([execution(0)])
    _plant(store, "max_page_count=40")
    big = [
        ExecutionRecord(id=f"b-{n}", plugin_name="p", status=Status.FAILED, start_time=n, input="x" * 9_000)
        for n in range(90)
    ]
    with pytest.raises(StorageUnavailableError, match="full"):
        store.write(big)
    assert store.page(PageRequest()).total == 1
    assert store.write(big).stored == 90


def test_a_lock_held_by_another_program_is_waited_for(store: SqlStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    timer.start()
    assert store.write([execution(1)]).stored == 1
    timer.join()
    other.close()


def test_a_deleted_file_is_noticed_and_made_anew(store: SqlStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Writes into a deleted file would vanish without any error."""
    store.write([execution(1)])
    for name in path.parent.glob("executions.db*"):
        if not name.name.endswith(".write-lock"):
            name.unlink()
    store.ping()
    assert "was deleted or replaced" in caplog.text
    assert store.write([execution(2)]).stored == 1
    assert [record.id for record in store.page(PageRequest()).executions] == ["a-00000002"]


def test_pages_of_a_replaced_file_are_of_another_generation(store: SqlStore, path: Path) -> None:
    store.write([execution(1)])
    assert store.page(PageRequest()).generation == store.page(PageRequest()).generation == 0
    path.unlink()
    assert store.page(PageRequest()).generation == 1


def test_a_page_is_of_one_file_only(store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced by the time its payloads are read, it may be half of one history and half of another."""
    store.write([execution(1)])
    whole = reader._whole

    def late(connection: Connection, rows: Sequence[SqlRow[Any]]) -> list[ExecutionRecord]:
        path.unlink()
        return whole(connection, rows)

    monkeypatch.setattr(reader, "_whole", late)
    with pytest.raises(StorageUnavailableError, match="was replaced while it was read"):
        store.page(PageRequest())


def test_readers_cannot_write(store: SqlStore) -> None:
    with pytest.raises(StorageUnavailableError, match="readonly"), store._database.read() as connection:
        connection.exec_driver_sql("DELETE FROM executions")


_WRITE_FOR_A_SECOND = """
import sys, time
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store, reader
store, prefix, written = open_store(sys.argv[1]), sys.argv[2], 0
deadline = time.monotonic() + 1
while time.monotonic() < deadline:
    rows = [ExecutionRecord(id=f"{prefix}-{written + n}", plugin_name="p", status=Status.COMPLETED, start_time=1)
            for n in range(20)]
    written += store.write(rows).stored
store.close()
print(written)
"""


def test_two_processes_write_one_file_without_loss(store: SqlStore, path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _WRITE_FOR_A_SECOND, f"sqlite:///{path}"]
    processes = [subprocess.Popen([*command, prefix], stdout=subprocess.PIPE, cwd=root) for prefix in "xy"]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    counts = [int(output) for output in outputs]
    assert min(counts) > 0
    assert store.info().total_records == sum(counts)
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def _plan(store: SqlStore, wanted: ExecutionFilter, cursor: str = "") -> str:
    seen: list[tuple[str, object]] = []
    engine = store._database._reader
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, values, _x, _m: seen.append((sql, values)))
    store.page(PageRequest(filter=wanted, cursor=cursor, with_total=False, with_payloads=False))
    with engine.connect() as connection:
        sql, values = seen[0]
        assert isinstance(values, tuple)
        return " | ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values))


FAILING = (Status.FAILED, Status.TIMEOUT)
ONE_RANGE = {
    "newest": (ExecutionFilter(), "executions_by_start"),
    "a time range": (ExecutionFilter(started_from=10, started_before=20), "executions_by_start (start_time>? AND"),
    "completed": (ExecutionFilter(statuses=(Status.COMPLETED,)), "executions_by_start"),
    "completed or failed": (ExecutionFilter(statuses=(Status.COMPLETED, Status.FAILED)), "executions_by_start"),
    "a duration range in a time range": (
        ExecutionFilter(min_duration=1, max_duration=2, started_from=10, started_before=20),
        "executions_by_start (start_time>? AND",
    ),
    "a plugin": (ExecutionFilter(plugins=("p1",)), "executions_by_plugin (plugin_name=?"),
    "a plugin's completed": (
        ExecutionFilter(plugins=("p1",), statuses=(Status.COMPLETED,)),
        "executions_by_plugin (plugin_name=?",
    ),
    "failed": (ExecutionFilter(statuses=(Status.FAILED,)), "executions_by_status (status=?"),
    "a plugin's failed": (
        ExecutionFilter(plugins=("p1",), statuses=(Status.FAILED,)),
        "executions_by_plugin_status (plugin_name=? AND status=?",
    ),
    "an error type": (ExecutionFilter(error_types=("timeout",)), "executions_by_error_type (error_type=?"),
    "a trace": (ExecutionFilter(trace_id="f" * 32), "executions_by_trace (trace_id=?"),
    "a delivery": (ExecutionFilter(delivery_id="d"), "executions_by_delivery (delivery_id=?"),
    "a tag": (ExecutionFilter(tags=(("a", "b"),)), "execution_tags_by_value (name=? AND value=?"),
    "a tag in a time range": (
        ExecutionFilter(tags=(("a", "b"),), started_from=10, started_before=20),
        "execution_tags_by_value (name=? AND value=? AND start_time>? AND",
    ),
    "a plugin in a time range": (
        ExecutionFilter(plugins=("p1",), started_from=10),
        "executions_by_plugin (plugin_name=? AND start_time>?",
    ),
}
SEVERAL_RANGES = {
    "plugins": (ExecutionFilter(plugins=("p1", "p2", "p3")), "executions_by_plugin (plugin_name=?", 3),
    "failing statuses": (ExecutionFilter(statuses=FAILING), "executions_by_status (status=?", 2),
    "failing statuses of plugins": (
        ExecutionFilter(plugins=("p1", "p2", "p3"), statuses=FAILING),
        "executions_by_plugin_status (plugin_name=? AND status=?",
        6,
    ),
    "error types": (ExecutionFilter(error_types=("timeout", "conflict")), "executions_by_error_type (error_type=?", 2),
}


def history(count: int, *, begin: int = 0) -> list[ExecutionRecord]:
    """Ten plugins in turn; every tenth failed, every fiftieth timed out."""
    return [
        ExecutionRecord(
            id=f"a-{number:08d}",
            plugin_name=f"p{number // 10 % 10}",
            status=Status.TIMEOUT if number % 50 == 0 else Status.FAILED if number % 10 == 0 else Status.COMPLETED,
            error_type="timeout" if number % 50 == 0 else "conflict" if number % 10 == 0 else "",
            start_time=number,
            end_time=number + 1,
            duration=1,
            trace_id="f" * 32 if number % 2 else f"{number:032x}",
            delivery_id="d" if number % 2 else f"{number}",
            tags='{"a":"b"}' if number % 2 else "{}",
        )
        for number in range(begin, begin + count)
    ]


def _analyze(store: SqlStore) -> None:
    with store._database.write() as connection:
        connection.exec_driver_sql("ANALYZE")


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("name", ONE_RANGE)
def test_a_filter_is_read_off_an_index_in_order(store: SqlStore, name: str, analyzed: bool) -> None:
    wanted, index = ONE_RANGE[name]
    store.write(history(2000))
    if analyzed:
        _analyze(store)
    plan = _plan(store, wanted)
    assert index in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("name", SEVERAL_RANGES)
def test_a_list_is_cut_into_ranges_of_an_index(store: SqlStore, name: str, analyzed: bool) -> None:
    wanted, index, count = SEVERAL_RANGES[name]
    store.write(history(2000))
    if analyzed:
        _analyze(store)
    plan = _plan(store, wanted)
    assert plan.count(index) == count
    assert "SCAN executions" not in plan


EVERY_FILTER = {
    **{name: wanted for name, (wanted, _) in ONE_RANGE.items()},
    **{name: wanted for name, (wanted, _, _) in SEVERAL_RANGES.items()},
}


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_a_page_costs_no_more_in_a_longer_history(store: SqlStore, name: str) -> None:
    """In steps of SQLite's machine, so it is no matter of time: the newest page, and one in the middle, by cursor."""
    steps = _counted_steps(store)
    store.write(history(1000))
    _analyze(store)
    first = steps(PageRequest(filter=EVERY_FILTER[name], limit=5, cursor=encode_cursor(900, "b")))
    assert first > 0
    store.write(history(9000, begin=1000))
    assert steps(PageRequest(filter=EVERY_FILTER[name], limit=5, cursor=encode_cursor(900, "b"))) <= first * 1.1
    assert steps(PageRequest(filter=EVERY_FILTER[name], limit=5)) <= first * 1.1


def _counted_steps(store: SqlStore) -> Callable[[PageRequest], int]:
    """A page is read; how many steps that took."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(count, 1)

    def read(request: PageRequest) -> int:
        nonlocal steps
        steps = 0
        store.page(msgspec.structs.replace(request, with_total=False, with_payloads=False))
        return steps

    event.listen(store._database._reader, "checkout", watch)
    return read


def test_a_cursor_seeks_in_the_index(store: SqlStore) -> None:
    store.write([execution(n) for n in range(100)])
    cursor = store.page(PageRequest(limit=10)).next_cursor
    plan = _plan(store, ExecutionFilter(), cursor)
    assert "SEARCH executions USING INDEX executions_by_start (start_time<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_pruning_gives_space_back(store: SqlStore) -> None:
    store.write([msgspec.structs.replace(execution(number), input="x" * 20_000) for number in range(100)])
    size = store.info().size
    assert store.prune(started_before=2**62).freed_bytes > 1_000_000
    assert store.info().size < size - 1_000_000
