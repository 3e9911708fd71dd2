"""What the record path costs a webhook: requests/s and p99 with tracking at `disk`, next to tracking switched off.

    python -m benchmarks.bench_tracking [rounds] [seconds]

Two bridges run side by side, the same plugin in isolated workers, 16 connections. They are loaded in turn, a burst
each, so that a noisy machine slows both alike; ratios and differences are taken burst by burst, and their median told.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.bridge import BODY, bridge
from benchmarks.load import drive, post

CONNECTIONS = 16
REQUEST = post("/api/v1/webhook/bench", BODY)


def burst(port: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, median and p99 in milliseconds; anything but 200 ends the measurement."""
    load = drive(port, REQUEST, connections=CONNECTIONS, seconds=seconds)
    assert set(load.statuses) == {200}, load.statuses
    return load.rate, load.quantile(0.5), load.quantile(0.99)


def main(rounds: int = 10, seconds: float = 3.0) -> None:
    """Print the two figures."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        with (
            bridge(folder / "on", EXECUTION_TRACKING__DURABILITY="disk") as (on, _),
            bridge(folder / "off", EXECUTION_TRACKING__ENABLED="false") as (off, _),
        ):
            for port in (on, off):
                burst(port, 2.0)
            pairs = [(burst(on, seconds), burst(off, seconds)) for _ in range(rounds)]
    rates = statistics.median(a[0] for a, _ in pairs), statistics.median(b[0] for _, b in pairs)
    medians = statistics.median(a[1] for a, _ in pairs), statistics.median(b[1] for _, b in pairs)
    tails = statistics.median(a[2] for a, _ in pairs), statistics.median(b[2] for _, b in pairs)
    ratio = statistics.median(a[0] / b[0] for a, b in pairs)
    added = statistics.median(a[2] - b[2] for a, b in pairs)
    print(f"tracking  requests/s on {rates[0]:.0f}, off {rates[1]:.0f}: ratio {ratio:.2f} (must 0.75, aim 0.90)")
    print(f"tracking  p50 on {medians[0]:.2f} ms, off {medians[1]:.2f} ms")
    print(f"tracking  p99 on {tails[0]:.2f} ms, off {tails[1]:.2f} ms: added {added:.2f} ms (must 5, aim 2)")


if __name__ == "__main__":
    main(*(float(a) if i else int(a) for i, a in enumerate(sys.argv[1:])))  # type: ignore[arg-type]
