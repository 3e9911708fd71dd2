"""How long a page of the history takes when the history is big.

    python -m benchmarks.bench_pages [count]

The newest fifty whole records over HTTP, one after the other, from a bridge on a database of a million records; and, in
the same run, from one of ten thousand.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.bridge import bridge
from benchmarks.load import Load, drive, get
from benchmarks.seed import seed

PAGES = 1000
REQUESTS = {
    "newest 50": "/api/v1/executions?limit=50",
    "newest 50, light": "/api/v1/executions?limit=50&fields=id,plugin_name,status,start_time,duration",
    "newest 50 failed": "/api/v1/executions?limit=50&status=failed",
    "newest 50 of a plugin": "/api/v1/executions?limit=50&plugin=plugin_03",
}


def measure(folder: Path, count: int) -> dict[str, Load]:
    """The loads by name, on a database of `count` records."""
    (folder / "data").mkdir(parents=True)
    seed(folder / "data" / "executions.db", count)
    found = {}
    with bridge(folder) as (port, _):
        for name, path in REQUESTS.items():
            drive(port, get(path), connections=1, count=50)
            found[name] = drive(port, get(path), connections=1, count=PAGES)
            assert set(found[name].statuses) == {200}, found[name].statuses
    return found


def main(count: int = 1_000_000) -> None:
    """Print a line a kind of page."""
    with tempfile.TemporaryDirectory() as root:
        small = measure(Path(root) / "small", 10_000)
        big = measure(Path(root) / "big", count)
    for name, load in big.items():
        target = " (must 20, aim 5)" if name == "newest 50" else ""
        ratio = load.quantile(0.5) / small[name].quantile(0.5)
        line = f"p50 {load.quantile(0.5):.2f} ms, p99 {load.quantile(0.99):.2f} ms{target}"
        print(f"pages     {name:22} of {count}: {line}; p50 ÷ that of 10000 records: {ratio:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
