"""How long a page of the history takes when the history is big.

    python -m benchmarks.bench_pages [count]

Fifty records over HTTP, one page after the other, from a bridge on a database of a million records; and, in the same
run, from one of ten thousand: the newest, those of each filter, those in the middle by cursor; and a search for a text
that is nowhere, which its budget ends.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bridge import bridge
from benchmarks.load import Load, drive, get
from benchmarks.seed import SPAN_NANOSECONDS, seed
from otel_tracker.storage.query import encode_cursor

PAGES, FILTERED_PAGES, SEARCHES = 1000, 200, 5
LIST = "/api/v1/executions?limit=50"
LIGHT = f"{LIST}&fields=id,plugin_name,status,start_time,duration"
MIDDLE = encode_cursor(time.time_ns() - SPAN_NANOSECONDS // 2, "a")
REQUESTS = {
    "newest 50": LIST,
    "newest 50, light": LIGHT,
    "newest 50 failed": f"{LIST}&status=failed",
    "newest 50 of a plugin": f"{LIST}&plugin=plugin_03",
}
FILTERED = {
    "newest 50 completed": f"{LIGHT}&status=completed",
    "failed or timed out": f"{LIGHT}&status=failed,timeout",
    "failed of a plugin": f"{LIGHT}&status=failed&plugin=plugin_03",
    "of three plugins": f"{LIGHT}&plugin=plugin_00,plugin_03,plugin_19",
    "of an error type": f"{LIGHT}&error_type=timeout",
    "of two error types": f"{LIGHT}&error_type=timeout,connection_error",
    "with a tag": f"{LIGHT}&tags=team:engine",
    "of a trace": f"{LIGHT}&trace_id={'a' * 32}",
    "of a delivery": f"{LIGHT}&delivery_id=none",
    "of a day": f"{LIGHT}&start_time=-8d&end_time=-7d",
    "slow, of a day": f"{LIGHT}&start_time=-8d&end_time=-7d&min_duration=200ms",
    "in the middle": f"{LIGHT}&cursor={MIDDLE}",
    "in the middle, failed": f"{LIGHT}&status=failed&cursor={MIDDLE}",
    "offset in the middle": f"{LIGHT}&offset=%d",
}
SEARCH = f"{LIGHT}&q=nowhere+to+be+found"


def measure(folder: Path, count: int) -> dict[str, Load]:
    """The loads by name, on a database of `count` records."""
    (folder / "data").mkdir(parents=True)
    seed(folder / "data" / "executions.db", count)
    with bridge(folder) as (port, _):
        found = {name: load(port, path, PAGES) for name, path in REQUESTS.items()}
        filtered = {name: path.replace("%d", str(count // 2)) for name, path in FILTERED.items()}
        found |= {name: load(port, path, FILTERED_PAGES) for name, path in filtered.items()}
        return found | {"search, in vain": load(port, SEARCH, SEARCHES)}


def load(port: int, path: str, count: int) -> Load:
    """So many of these pages, one after the other, on a server that is warm."""
    drive(port, get(path), connections=1, count=max(1, count // 20))
    found = drive(port, get(path), connections=1, count=count)
    assert set(found.statuses) == {200}, found.statuses
    return found


def main(count: int = 1_000_000) -> None:
    """Print a line a kind of page."""
    with tempfile.TemporaryDirectory() as root:
        small = measure(Path(root) / "small", 10_000)
        big = measure(Path(root) / "big", count)
    for name, found in big.items():
        target = " (must 20, aim 5)" if name == "newest 50" else ""
        ratio = found.quantile(0.5) / small[name].quantile(0.5)
        line = f"p50 {found.quantile(0.5):.2f} ms, p99 {found.quantile(0.99):.2f} ms{target}"
        print(f"pages     {name:22} of {count}: {line}; p50 ÷ that of 10000 records: {ratio:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
