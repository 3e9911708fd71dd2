"""Answers wait for their records: in groups, for a bounded time, and whatever fails, never for ever."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from bridge_app.durability import COLLECTED_WITHIN_SECONDS, OTHERS, DurableAnswers
from exporters.spool import Spool
from exporters.spooled import Receipt
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Bench:
    """A real spool; executions whose end appends a frame to it."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool.open(folder, instance_id="one")
        self.running = 0
        self.wanted = "disk"
        self.groups: list[int] = []
        self.answers = DurableAnswers(self.spool, sync=True, young=lambda: self.running)
        flush = self.answers.flush

        def noting() -> None:
            self.groups.append(len(self.answers._ending))
            flush()

        self.answers.flush = noting  # type: ignore[method-assign]

    def run(self, count: int, end: Callable[[Receipt], None] | None = None) -> list[str]:
        """So many executions end at once; what their answers say."""

        async def all_of_them() -> list[str]:
            self.answers.bind(asyncio.get_running_loop())
            return await asyncio.gather(*(self.one(end or self.append) for _ in range(count)))

        return asyncio.run(all_of_them())

    async def one(self, end: Callable[[Receipt], None]) -> str:
        receipt = Receipt()
        return await self.answers.keep(lambda: end(receipt), receipt, wanted=self.wanted)

    def append(self, receipt: Receipt) -> None:
        receipt.sequence = self.spool.append(b"the end")
        self.running -= 1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.spool.close(timeout_seconds=5)


def test_a_lone_execution_waits_for_nobody(bench: Bench) -> None:
    bench.running = 1
    assert bench.run(1) == ["disk"]
    assert bench.groups == [1]


def test_many_that_end_together_are_one_group(bench: Bench) -> None:
    bench.running = 20
    assert bench.run(20) == ["disk"] * 20
    assert bench.groups == [20]


def test_a_group_does_not_wait_for_a_few_others(bench: Bench) -> None:
    bench.running = 5 + OTHERS
    assert bench.run(5) == ["disk"] * 5
    assert bench.groups == [5]


def test_a_group_waits_for_many_others_but_not_long(bench: Bench) -> None:
    bench.running = 5 + OTHERS + 1
    began = time.monotonic()
    assert bench.run(5) == ["disk"] * 5
    assert bench.groups == [5]
    assert time.monotonic() - began >= COLLECTED_WITHIN_SECONDS / 2  # loops count in milliseconds


def test_one_end_that_fails_takes_no_other_along(bench: Bench) -> None:
    calls = iter(range(3))
    before = failsafe.failures["durability.end"]

    def end(receipt: Receipt) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        bench.append(receipt)

    bench.running = 3
    assert bench.run(3, end) == ["disk", "none", "disk"]
    assert failsafe.failures["durability.end"] == before + 1


def test_where_nothing_is_wanted_answers_wait_for_their_group_and_no_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end's frame is one that never comes to rest, and nobody is asked to write it in another's place."""
    monkeypatch.setattr(bench.spool, "relieve", lambda: pytest.fail("nobody waits for it"))

    def end(receipt: Receipt) -> None:
        receipt.sequence = 1_000_000
        bench.running -= 1

    bench.running, bench.wanted = 20, "off"
    assert bench.run(20, end) == ["none"] * 20
    assert bench.groups == [20]
    assert not bench.answers._waiting


def test_what_the_spool_refuses_is_none_at_once(bench: Bench) -> None:
    bench.spool.close(timeout_seconds=5)
    assert bench.run(3) == ["none"] * 3


def test_a_flush_that_always_fails_holds_no_answer_up_and_ends_nothing_twice(bench: Bench) -> None:
    def broken() -> None:
        raise MemoryError

    bench.running = 20
    bench.answers.flush = broken  # type: ignore[method-assign]

    async def several() -> list[BaseException | str]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        bench.answers.bind(asyncio.get_running_loop())
        found: list[BaseException | str] = []
        for _ in range(2):  # the second time there is a group already that was never flushed
            waiting = (bench.one(bench.append) for _ in range(3))
            found += await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        return found

    assert {type(one) for one in asyncio.run(several())} == {MemoryError}  # the caller guards, and ends it itself


def test_a_cancelled_wait_still_ends_the_execution_and_tells_the_truth(bench: Bench) -> None:
    bench.running = 20

    async def cancelled() -> str:
        bench.answers.bind(asyncio.get_running_loop())
        task = asyncio.create_task(bench.one(bench.append))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(cancelled()) in {"disk", "process", "none"}
    assert bench.spool.flush(timeout_seconds=5)
    assert bench.spool.synced == 1
    assert bench.groups == [1]
