"""Pages, statistics and a cleanup of ten million records: `make bench-scale`. It takes an hour and 10 GB of disk.

    python -m benchmarks.bench_scale [count [DATABASE]]

See `bench_pages`, `bench_stats` and `bench_cleanup`. DATABASE is one that `benchmarks.seed` filled with `count`
records; nothing is cleaned up there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks import bench_cleanup, bench_pages, bench_stats
from benchmarks.bench_drain import database
from benchmarks.seed import seed

ROUNDS = 3
NEWEST = ("newest 50", "newest 50, light")
DEEP = ("in the middle", "in the middle, whole", "in the middle, failed")
UNRATED = ("offset in the middle", "search, in vain", *NEWEST, *DEEP)
"""An offset reads what it leaves out, a search has a budget of its own."""


def main(count: int = 10_000_000, url: str = "") -> None:
    """Fill a database, unless one is given, and measure it."""
    if url:
        measure(url, count)
        return
    with database("sqlite") as made:
        begun = time.perf_counter()
        seed(made, count)
        print(f"scale     {count} records filled in, in {time.perf_counter() - begun:.0f} s", flush=True)
        measure(made, count)
        bench_cleanup.main(database=Path(made.removeprefix("sqlite:///")))


def measure(url: str, count: int) -> None:
    """Print every line, then those that are rated."""
    ratio = bench_stats.report(bench_stats.measure(url, count, rounds=ROUNDS), count)
    ratios = bench_pages.compare(url, count)
    print(f"scale     statistics of 30 days ÷ GROUP BY of {count}: {ratio:.5f} (must 0.01, aim 0.001)")
    kinds = {"newest": NEWEST, "filtered": [one for one in ratios if one not in UNRATED], "deep cursor": DEEP}
    for kind, names in kinds.items():
        worst = max(names, key=ratios.__getitem__)
        line = f"{ratios[worst]:.2f} (must 3, aim 1.5), the worst: {worst}"
        print(f"scale     {kind} page of {count} ÷ of {bench_pages.SMALL} records: {line}")


if __name__ == "__main__":
    main(*bench_pages.arguments(sys.argv[1:] or ["10000000"]))
