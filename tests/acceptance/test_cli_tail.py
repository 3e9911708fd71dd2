"""`executions tail`: every execution that ends, once, whenever it began and however many end between two looks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from bridge_process import _bytecode_cache

from bridge_app.cli.follow import Follower
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_tracker.ports import ExecutionStore

COMMAND = str(Path(sys.executable).with_name("webhook-bridge"))
SECOND = 1_000_000_000
EVERYTHING = ExecutionFilter()
NOW = 1_749_220_428 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExecutionStore]:
    with closing(open_store(f"sqlite:///{tmp_path}/data/executions.db")) as opened:
        yield opened


def ended(name: str, *, start: int, status: Status = Status.COMPLETED, plugin: str = "p") -> ExecutionRecord:
    return ExecutionRecord(id=name, plugin_name=plugin, status=status, start_time=start, end_time=start + 1, input="{}")


def running(name: str, *, start: int) -> ExecutionRecord:
    return ExecutionRecord(id=name, plugin_name="p", status=Status.RUNNING, rank=Rank.RUNNING, start_time=start)


def follow(store: ExecutionStore, chosen: ExecutionFilter = EVERYTHING) -> Callable[[], list[str]]:
    follower = Follower(store, chosen, now=NOW, with_payloads=False)
    return lambda: [record.id for record in follower.look()]


def test_what_ended_before_is_not_given(store: ExecutionStore) -> None:
    store.write([ended("before", start=NOW - SECOND)])
    look = follow(store)
    assert look() == []
    store.write([ended("after", start=NOW)])
    assert (look(), look()) == (["after"], [])


def test_what_ran_for_long_is_given_when_it_ends(store: ExecutionStore) -> None:
    store.write([running("long", start=NOW - 3600 * SECOND), running("killed", start=NOW)])
    look = follow(store)
    store.write([ended(f"{number:03}", start=NOW + 60 * SECOND + number) for number in range(3)])
    assert look() == ["000", "001", "002"]
    store.write([ended("long", start=NOW - 3600 * SECOND), ended("killed", start=NOW, status=Status.FAILED)])
    assert (look(), look()) == (["long", "killed"], [])


def test_more_than_a_page_between_two_looks_is_given_whole(store: ExecutionStore) -> None:
    look = follow(store)
    store.write([ended(f"{number:04}", start=NOW + number) for number in range(1200)])
    assert look() == [f"{number:04}" for number in range(1200)]


def test_what_arrives_a_little_late_is_given(store: ExecutionStore) -> None:
    look = follow(store)
    store.write([ended("quick", start=NOW + 10 * SECOND)])
    assert look() == ["quick"]
    store.write([ended("late", start=NOW + 6 * SECOND)])
    assert (look(), look()) == (["late"], [])


def test_a_filter_is_asked_of_the_end(store: ExecutionStore) -> None:
    look = follow(store, ExecutionFilter(statuses=(Status.TIMEOUT,)))
    other = follow(store, ExecutionFilter(plugins=("q",)))
    store.write([running("slow", start=NOW)])
    assert look() == []
    store.write([ended("slow", start=NOW, status=Status.TIMEOUT), ended("fine", start=NOW, plugin="q")])
    assert (look(), other()) == (["slow"], ["fine"])


def test_a_duration_and_a_text_are_asked_of_the_end(store: ExecutionStore) -> None:
    look = follow(store, ExecutionFilter(min_duration=1, max_duration=5))
    other = follow(store, ExecutionFilter(text="REFUSED"))
    store.write([running("slow", start=NOW), running("refused", start=NOW), running("killed", start=NOW)])
    assert look() == other() == []
    store.write(
        [
            msgspec.structs.replace(ended("slow", start=NOW), duration=5),
            msgspec.structs.replace(ended("refused", start=NOW), duration=6, error="connection refused"),
            msgspec.structs.replace(ended("killed", start=NOW), end_time=None, duration=5),
        ]
    )
    assert (look(), other()) == (["slow"], ["refused"])


def test_the_command_prints_each_once_until_ctrl_c(tmp_path: Path, store: ExecutionStore) -> None:
    printed = tmp_path / "printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [COMMAND, "executions", "tail", "--interval", "0.2"],
            cwd=tmp_path,
            env={**os.environ, **_bytecode_cache()},
            stdout=file,
            stderr=subprocess.PIPE,
        )
    try:
        number = 0
        while not printed.stat().st_size:  # until it looks
            number += 1
            store.write([ended(f"probe-{number}", start=time.time_ns())])
            time.sleep(0.05)
        store.write([ended(f"{number:04}", start=time.time_ns()) for number in range(700)])
        until(lambda: "0699" in printed.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=30)[1], process.returncode) == (b"\n", 130)
    ids = [line.split()[-1] for line in printed.read_text().splitlines()]
    assert sorted(name for name in ids if not name.startswith("probe")) == [f"{number:04}" for number in range(700)]


def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
