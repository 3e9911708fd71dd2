"""A spool's frame counts once, whatever becomes of the spool's own cursor: nothing that was deleted comes back."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import databases
import msgspec
import pytest
from sqlalchemy import select

from exporters.drain import Delivered, Drain
from exporters.spool import Spool
from exporters.spool_reader import SpoolReader
from exporters.sql import ExecutionRecordExporter
from otel_tracker.query import PageRequest, SpoolPosition, WriteResult
from otel_tracker.record import ExecutionRecord, Row, Status
from otel_tracker.storage import open_store
from otel_tracker.storage.tables import rollup_durations, rollups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otel_tracker.storage.store import SqlStore

NOON = 1_728_043_200_000_000_000
POSITION = SpoolPosition(instance_id="one", segment=1, offset=2, frames=3, corrupt=4, checksum=5)


@pytest.fixture(params=databases.KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    with databases.made(request.param, folder=tmp_path / "data") as url, closing(open_store(url)) as opened:
        yield opened


def execution(number: int) -> ExecutionRecord:
    return ExecutionRecord(
        id=f"01920000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=NOON + number,
        duration=5,
    )


def frame(row: Row) -> bytes:
    return msgspec.msgpack.encode(row)


def spooled(root: Path, *numbers: int) -> None:
    """What a bridge leaves that dies."""
    spool = Spool.open(root, instance_id="one", sync=False)
    for number in numbers:
        spool.append(frame(execution(number)))
    assert spool.flush(timeout_seconds=10)
    spool._directory.release()


def drained(root: Path, store: SqlStore) -> Drain:
    """By a process that starts now."""
    reader = SpoolReader(root / "one", is_growing=False)
    drain = Drain(ExecutionRecordExporter(store), reader)
    drain.once()
    reader.close()
    return drain


def numbers(store: SqlStore) -> list[int]:
    return sorted(int(one.id[-12:]) for one in store.page(PageRequest(limit=1000)).executions)


def statistics(store: SqlStore) -> list[tuple[object, ...]]:
    with store.database.read() as connection:
        return [
            tuple(row)
            for table in (rollups, rollup_durations)
            for row in connection.execute(select(table).order_by(*table.primary_key.columns))
        ]


@pytest.mark.parametrize("is_lost", [False, True], ids=["old cursor", "no cursor"])
def test_a_lost_cursor_brings_nothing_back(store: SqlStore, tmp_path: Path, *, is_lost: bool) -> None:
    """The cursor file is not synced: after a power cut it is an old one, or none."""
    spooled(tmp_path, *range(10))
    drained(tmp_path, store)
    shutil.copy(tmp_path / "one/cursor", tmp_path / "older")
    spooled(tmp_path, *range(10, 20))
    drained(tmp_path, store)
    assert store.prune(started_before=NOON + 15).deleted == 15
    before = statistics(store)
    if is_lost:
        (tmp_path / "one/cursor").unlink()
    else:
        shutil.copy(tmp_path / "older", tmp_path / "one/cursor")
    drained(tmp_path, store)
    assert (numbers(store), statistics(store)) == (list(range(15, 20)), before)
    spooled(tmp_path, 20)
    drained(tmp_path, store)
    assert numbers(store) == list(range(15, 21))
    assert store.verify_rollups().is_good


class ForgetfulExporter(ExecutionRecordExporter):
    """Takes frames, and fails before it has said so: a connection that breaks inside COMMIT."""

    def deliver(
        self,
        frames: Sequence[bytes],
        *,
        until: SpoolPosition | None = None,
        settle: Callable[[Delivered], object] = lambda _: None,
    ) -> Delivered:
        super().deliver(frames, until=until, settle=settle)
        raise ConnectionError("the answer did not arrive")


def test_a_commit_whose_answer_is_lost_is_not_repeated(store: SqlStore, tmp_path: Path) -> None:
    spooled(tmp_path, *range(10))
    reader = SpoolReader(tmp_path / "one")
    drain = Drain(ForgetfulExporter(store), reader)
    with pytest.raises(ConnectionError):
        drain.once()
    store.prune(started_before=NOON + 5)
    assert drain.once() == 0
    assert numbers(store) == list(range(5, 10))
    reader.close()


def test_another_spool_of_the_same_name_is_delivered(store: SqlStore, tmp_path: Path) -> None:
    """Its segments begin at 1 again: the position in the database is none of its own."""
    spooled(tmp_path / "first", *range(10))
    drained(tmp_path / "first", store)
    spooled(tmp_path / "second", *range(10, 15))
    drained(tmp_path / "second", store)
    spooled(tmp_path / "second", *range(15, 30))
    drained(tmp_path / "second", store)
    assert numbers(store) == list(range(30))


def test_rows_and_position_are_written_together_or_not_at_all(store: SqlStore) -> None:
    def fail(result: WriteResult) -> None:
        assert result.stored == 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write([execution(1)], position=POSITION, before_commit=fail)
    assert (numbers(store), store.position("one")) == ([], None)
    store.write([execution(1)], position=POSITION)
    assert (numbers(store), store.position("one"), store.position("two")) == ([1], POSITION, None)
    moved = msgspec.structs.replace(POSITION, segment=0, checksum=2**32 - 1)
    store.write([], position=moved)
    assert store.position("one") == moved


def test_a_position_that_has_not_moved_for_long_goes_with_the_statistics_of_its_time(store: SqlStore) -> None:
    store.write([execution(1)], position=POSITION)
    store.prune_rollups(started_before=NOON)
    assert store.position("one") == POSITION
    store.prune_rollups(started_before=2**62)
    assert store.position("one") is None


def test_what_is_refused_is_kept_before_the_position_moves(store: SqlStore, tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one", sync=False)
    for data in (frame(execution(1)), b"garbage", frame(execution(2))):
        spool.append(data)
    assert spool.flush(timeout_seconds=10)
    spool._directory.release()
    drain = drained(tmp_path, store)
    assert (drain.rejected, drain.lost, numbers(store)) == (1, 1, [1, 2])
    assert [path.read_bytes() for path in (tmp_path / "one/dead").iterdir()] == [b"garbage"]
    (tmp_path / "one/cursor").unlink()
    assert drained(tmp_path, store).rejected == 0
