"""What a cleanup costs those who write meanwhile: p99 of webhooks, and how long a batch waits for the database.

    python -m benchmarks.bench_cleanup [--count 200000] [--database PATH] [--rounds 5] [--seconds 5]

Webhooks are sent to a bridge on a big SQLite history, in turn for some seconds without a cleanup, and for as long as a
cleanup takes that deletes its share of the oldest tenth: the ratio of the two p99 is taken round by round, and the
median told. Then batches are written straight into the store, again without and during a cleanup: what the drain does.
`--database` names a history that is there already; the oldest fifth of it is deleted.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.bridge import BODY, bridge
from benchmarks.load import Load, drive, post
from benchmarks.seed import record, seed
from bridge_app.cleaning import Bounds, Cleaner
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_tracker.ports import ExecutionStore

CONNECTIONS, SLICE_SECONDS = 16, 0.5
BATCH, PAUSE_SECONDS = 50, 0.01
_REQUEST = post("/api/v1/webhook/bench", BODY)


class Edges(NamedTuple):
    """Where the shares of the history end, in nanoseconds."""

    of_webhooks: list[int]
    of_batches: list[int]


def edges(path: Path, rounds: int) -> Edges:
    """The oldest tenth for the webhooks and the next for the batches, in as many parts as there are rounds."""
    with closing(open_store(f"sqlite:///{path}")) as store:
        info = store.info()
        assert info.oldest_record is not None
        assert info.newest_record is not None
        step = (info.newest_record - info.oldest_record) // (10 * rounds)
        all_edges = [info.oldest_record + number * step for number in range(1, 2 * rounds + 1)]
    return Edges(all_edges[:rounds], all_edges[rounds:])


def webhooks(port: int, seconds: float) -> Load:
    """Sent for so long."""
    load = drive(port, _REQUEST, connections=CONNECTIONS, seconds=seconds)
    assert set(load.statuses) == {200}, load.statuses
    return load


def during(act: Callable[[], Any], work: Callable[[], None]) -> Any:
    """Work again and again while that goes on in a thread; what it gives."""
    given: list[Any] = []
    thread = threading.Thread(target=lambda: given.append(act()))
    thread.start()
    while thread.is_alive():
        work()
    return given[0]


def cleaned(port: int, edge: int) -> dict[str, Any]:
    """The answer of the cleanup of what started before."""
    seconds = (time.time_ns() - edge) // 1_000_000_000
    url = f"http://127.0.0.1:{port}/api/v1/executions/cleanup?older_than={seconds}s"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=3600) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def measure_webhooks(path: Path, folder: Path, parts: list[int], seconds: float) -> None:
    """Print the ratio of the p99s."""
    ratios, tails, deleted, took, sent = [], [], 0, 0.0, 0
    with bridge(folder, STORAGE__SQLITE__DATABASE_PATH=str(path)) as (port, _):
        webhooks(port, 2.0)
        for edge in parts:
            alone, beside = webhooks(port, seconds), Load()

            def add(beside: Load = beside) -> None:
                load = webhooks(port, SLICE_SECONDS)
                beside.latencies += load.latencies
                beside.seconds += load.seconds

            answer = during(lambda edge=edge: cleaned(port, edge), add)  # type: ignore[misc]  # bound at once
            deleted, took, sent = deleted + answer["deleted"], took + beside.seconds, sent + len(beside.latencies)
            tails.append((alone.quantile(0.99), beside.quantile(0.99)))
            ratios.append(tails[-1][1] / tails[-1][0])
    without, beside_p99 = (statistics.median(one[side] for one in tails) for side in (0, 1))
    print(
        f"cleanup   webhooks: p99 {without:.1f} ms, {beside_p99:.1f} ms beside a cleanup: "
        f"ratio {statistics.median(ratios):.2f} (must 1.5, aim 1.1)"
    )
    print(f"cleanup   {deleted} executions deleted, {deleted / took:.0f}/s beside {sent / took:.0f} webhooks/s")


def measure_batches(path: Path, parts: list[int], seconds: float) -> None:
    """Print how long writers waited."""
    chance = random.Random(7)
    alone: list[float] = []
    beside: list[float] = []
    cleaner = Cleaner({"url": f"sqlite:///{path}"}, Bounds(days=30, rollup_days=400))

    def write(store: ExecutionStore, into: list[float]) -> None:
        rows = [record(chance, time.time_ns()) for _ in range(BATCH)]
        begun = time.perf_counter()
        store.write(rows)
        into.append(1000 * (time.perf_counter() - begun))
        time.sleep(PAUSE_SECONDS)

    with closing(open_store(f"sqlite:///{path}")) as store:
        for edge in parts:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                write(store, alone)
            age = (time.time_ns() - edge) // 1_000_000_000
            during(
                lambda age=age: cleaner.run(now=time.time_ns(), older_than_seconds=age),  # type: ignore[misc]  # likewise
                lambda: write(store, beside),
            )
    for name, found in (("alone", alone), ("beside a cleanup", beside)):
        ordered = sorted(found)
        p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
        figures = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {ordered[-1]:.1f} ms"
        print(f"cleanup   a batch of {BATCH} records {name}: {figures}")
    longer = max(beside) - max(alone)
    print(f"cleanup   the longest wait that the cleanup added: {longer:.1f} ms (must 50)")


def main(count: int = 200_000, database: Path | None = None, rounds: int = 5, seconds: float = 5.0) -> None:
    """Print it all."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        path = database or folder / "executions.db"
        if database is None:
            seed(path, count)
        parts = edges(path, rounds)
        measure_webhooks(path, folder, parts.of_webhooks, seconds)
        measure_batches(path, parts.of_batches, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--database", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    main(**vars(parser.parse_args()))
