"""A record that its database refuses again and again, for reasons that look as if they would pass, stops no others.

Each refusal is the database's own: triggers that raise what deadlocks, cancelled statements and the like raise, a
statement that takes too long. And a database that refuses everybody costs no record, however long it does.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import databases
import msgspec
import pytest
from sqlalchemy import event, text

from exporters.drain import Drain
from exporters.isolation import BATCH_ATTEMPTS, FRAME_ATTEMPTS
from exporters.spool import Spool
from exporters.sql import ExecutionRecordExporter
from otel_tracker.errors import StorageError, StorageLockedError, StorageRefusesError
from otel_tracker.query import PageRequest
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from otel_tracker.storage.store import SqlStore

COUNT = 20
BAD = 13


def frames(count: int = COUNT, *, input_bytes: int = 0, tags: str = "{}") -> list[bytes]:
    """Executions that ended; number `BAD` is of the plugin `bad`, and the largest and only tagged one, if any is."""
    return [
        msgspec.msgpack.encode(
            ExecutionRecord(
                id=f"{number:036}",
                plugin_name="bad" if number == BAD else "good",
                status=Status.COMPLETED,
                start_time=number,
                end_time=number + 1,
                duration=1,
                input="x" * input_bytes if number == BAD else "{}",
                tags=tags if number == BAD else "{}",
            )
        )
        for number in range(count)
    ]


class Bench:
    """A spool with a drain whose attempts the test makes itself."""

    def __init__(self, store: SqlStore, url: str, folder: Path) -> None:
        self.store = store
        self.url = url
        self.dead = folder / "one" / "dead"
        self.spool = Spool.open(folder, instance_id="one", sync=False)
        self.drain = Drain(ExecutionRecordExporter(store), self.spool.reader())

    def put(self, given: list[bytes]) -> None:
        for frame in given:
            self.spool.append(frame)
        assert self.spool.flush(timeout_seconds=10)

    def try_again(self, times: int) -> StorageError | None:
        """What the last of so many attempts raised; None once all is moved."""
        last: StorageError | None = None
        for _ in range(times):
            try:
                self.drain.once()
            except StorageError as error:
                last = error
            else:
                return None
        return last

    def execute(self, *statements: str) -> None:
        with self.store._database.writer.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()

    def stored(self) -> list[int]:
        page = self.store.page(PageRequest(limit=1000))
        return sorted(int(record.id) for record in page.executions)

    def buried(self) -> list[bytes]:
        return [path.read_bytes() for path in self.dead.iterdir()] if self.dead.exists() else []


def made(kind: str, folder: Path, *, statement_timeout_seconds: float = 5.0) -> Iterator[Bench]:
    with (
        databases.made(kind, folder=folder) as url,
        contextlib.closing(open_store(url, statement_timeout_seconds=statement_timeout_seconds)) as store,
    ):
        bench = Bench(store, url, folder / "spool")
        yield bench
        bench.spool.close(timeout_seconds=10)


@pytest.fixture(params=databases.KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from made(request.param, tmp_path)


@pytest.fixture(params=["postgresql", "mysql"])
def impatient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from made(request.param, tmp_path, statement_timeout_seconds=0.4)


ODD = {
    "sqlite": ["SELECT RAISE(ROLLBACK, 'not you')", "SELECT json('no JSON')", "SELECT abs(-9223372036854775807 - 1)"],
    "postgresql": [
        "RAISE 'not you' USING ERRCODE = 'deadlock_detected'",
        "RAISE 'not you' USING ERRCODE = 'serialization_failure'",
        "RAISE 'not you' USING ERRCODE = 'lock_not_available'",
        "RAISE 'not you' USING ERRCODE = 'ZZ123'",
    ],
    "mysql": [
        "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213",
        "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205",
        "SIGNAL SQLSTATE '45000'",
    ],
}
"""What a trigger does: a deadlock, a serialization failure, a lock waited for too long, and what nobody knows."""
SLEEPS = {"postgresql": "PERFORM pg_sleep(60)", "mysql": "SET @slept = SLEEP(60)"}


def plant(bench: Bench, act: str, *, for_all: bool = False) -> None:
    """A trigger that does so for the plugin `bad`, or for all."""
    whom = "1 = 1" if for_all else "NEW.plugin_name = 'bad'"
    match bench.store._database.dialect.name:
        case "sqlite":
            bench.execute(f"CREATE TRIGGER odd BEFORE INSERT ON executions WHEN {whom} BEGIN {act}; END")
        case "postgresql":
            bench.execute(
                f"CREATE OR REPLACE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN IF {whom} THEN {act}; END IF; RETURN NEW; END $$",
                "CREATE TRIGGER odd BEFORE INSERT ON executions FOR EACH ROW EXECUTE FUNCTION odd()",
            )
        case _:
            bench.execute(
                f"CREATE TRIGGER odd BEFORE INSERT ON executions FOR EACH ROW BEGIN IF {whom} THEN {act}; END IF; END"
            )


def remove(bench: Bench) -> None:
    on = " ON executions" if bench.store._database.dialect.name == "postgresql" else ""
    bench.execute(f"DROP TRIGGER odd{on}")


@pytest.mark.parametrize("number", range(4))
def test_a_record_that_is_refused_for_odd_reasons_is_given_up(
    bench: Bench, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are stored, once; it is in dead/ as it was, and counted."""
    monkeypatch.setattr("exporters.isolation.UNPROVEN_ATTEMPTS", 2 * FRAME_ATTEMPTS)  # a hundred take their time
    kinds = ODD[bench.store._database.dialect.name]
    plant(bench, kinds[number % len(kinds)])
    given = frames()
    bench.put(given)
    assert bench.try_again(60) is None
    assert bench.stored() == [each for each in range(COUNT) if each != BAD]
    assert (bench.buried(), bench.drain.rejected, bench.drain.lost) == ([given[BAD]], 1, 1)
    assert bench.store.verify_rollups().is_good


def test_a_record_whose_statement_takes_too_long_is_given_up(impatient: Bench) -> None:
    plant(impatient, SLEEPS[impatient.store._database.dialect.name])
    given = frames()
    impatient.put(given)
    assert impatient.try_again(60) is None
    assert impatient.stored() == [each for each in range(COUNT) if each != BAD]
    assert impatient.buried() == [given[BAD]]


@pytest.mark.parametrize(("kind", "timeout_seconds"), [("postgresql", 0.4), ("mysql", 2.0)])
def test_a_row_that_somebody_locks_costs_no_record(kind: str, timeout_seconds: float, tmp_path: Path) -> None:
    """An execution that runs: its end waits until the other transaction is over, for longer than a bad record's may."""
    for bench in made(kind, tmp_path, statement_timeout_seconds=timeout_seconds):
        given = frames()[BAD - 1 : BAD + 1]
        ends = [msgspec.msgpack.decode(frame, type=ExecutionRecord) for frame in given]
        running = {"status": Status.RUNNING, "rank": Rank.RUNNING, "end_time": None, "duration": None}
        bench.store.write([msgspec.structs.replace(one, **running) for one in ends])
        with contextlib.closing(open_store(bench.url)) as others, others._database.writer.connect() as other:
            other.execute(text("SELECT id FROM executions WHERE id = :id FOR UPDATE"), {"id": ends[1].id})
            bench.put(given)
            assert isinstance(bench.try_again(BATCH_ATTEMPTS + 1 + FRAME_ATTEMPTS + 1), StorageLockedError)
            assert (bench.buried(), bench.drain.rejected) == ([], 0)
        assert bench.try_again(1) is None
        assert bench.buried() == []
        page = bench.store.page(PageRequest(limit=COUNT))
        assert {record.status for record in page.executions} == {Status.COMPLETED}


def test_a_database_that_refuses_every_record_costs_none(bench: Bench) -> None:
    """It answers all the while."""
    plant(bench, ODD[bench.store._database.dialect.name][-1], for_all=True)
    bench.put(frames())
    assert bench.try_again(25) is not None
    bench.store.ping()
    assert (bench.buried(), bench.drain.rejected, bench.spool.delivered) == ([], 0, 0)
    remove(bench)
    assert bench.try_again(1) is None
    assert bench.stored() == list(range(COUNT))


def test_tables_that_are_not_ours_cost_no_record(bench: Bench) -> None:
    """Records without tags would be taken; who hides the table of tags is to be waited for."""
    bench.execute("ALTER TABLE execution_tags RENAME TO hidden")
    bench.put(frames(tags='{"a":"b"}'))
    assert bench.try_again(25) is not None
    assert (bench.buried(), bench.spool.delivered) == ([], 0)
    bench.execute("ALTER TABLE hidden RENAME TO execution_tags")
    assert bench.try_again(1) is None
    assert bench.stored() == list(range(COUNT))


def test_a_full_database_costs_no_record_though_small_ones_would_fit(tmp_path: Path) -> None:
    for bench in made("sqlite", tmp_path):
        bench.put(frames(input_bytes=4_000_000))
        bound = ["PRAGMA max_page_count=200"]

        def limit(connection: sqlite3.Connection, _record: object, bound: list[str] = bound) -> None:
            connection.execute(bound[0])

        bench.store._database.writer.dispose()
        event.listen(bench.store._database.writer, "connect", limit)
        assert isinstance(bench.try_again(25), StorageRefusesError)
        assert (bench.buried(), bench.spool.delivered) == ([], 0)
        bound[0] = "PRAGMA max_page_count=1000000"
        assert bench.try_again(1) is None
        assert bench.stored() == list(range(COUNT))
