"""Memory of the bridge after 100,000 executions, beyond that after 1,000.

    python -m benchmarks.bench_memory [count]

Resident memory of the serving process and of its drain process, read from the kernel once the spool is empty.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.bridge import BODY, bridge
from benchmarks.load import drive, post

REQUEST = post("/api/v1/webhook/bench", BODY)


def settled(port: int, pid: int) -> dict[str, float]:
    """MiB by process, after the spool was drained."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            if json.load(answer)["spool"]["frames"] == 0:
                break
        time.sleep(0.1)
    time.sleep(1.0)  # the drain is done with its last batch, too
    server = psutil.Process(pid)
    drains = [child for child in server.children() if "exporters.drain_worker" in child.cmdline()]
    return {
        "server": server.memory_info().rss / 2**20,
        "drain": sum(child.memory_info().rss for child in drains) / 2**20,
    }


def main(count: int = 100_000) -> None:
    """Print the growth."""
    with tempfile.TemporaryDirectory() as root, bridge(Path(root)) as (port, pid):
        drive(port, REQUEST, count=1_000)
        before = settled(port, pid)
        load = drive(port, REQUEST, count=count - 1_000)
        assert set(load.statuses) == {200}, load.statuses
        after = settled(port, pid)
    grown = {name: after[name] - before[name] for name in before}
    print(f"memory    server {before['server']:.0f} → {after['server']:.0f} MiB after {count} executions", end=": ")
    print(f"+{grown['server']:.1f} MiB (must 20, aim 5); drain process {after['drain']:.0f} MiB, +{grown['drain']:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
