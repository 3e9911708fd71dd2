"""What it costs to have a warm worker run a plugin, next to `concurrent.futures.ProcessPoolExecutor`, in one run.

    python -m benchmarks.bench_dispatch

The two are measured in turn, in rounds, so that a busy machine slows both alike. The executor can kill nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge_app.plugins.calls import Call, OutcomeKind, RunnerSettings
from bridge_app.plugins.runner import PluginRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS, CALLS = 10, 200
DATA = {"action": "opened", "number": 1}


def answer(data: Any) -> Any:
    return {"got": data}


async def timed(act: Callable[[], Awaitable[object]], into: list[float]) -> None:
    for _ in range(CALLS):
        begun = time.perf_counter_ns()
        await act()
        into.append((time.perf_counter_ns() - begun) / 1000)


async def measure(folder: Path) -> dict[str, list[float]]:
    (folder / "bench.py").write_text("def handle(event):\n    return {'got': event.data}\n")
    runner = PluginRunner(RunnerSettings(directories=(folder,)))
    await runner.start()
    times: dict[str, list[float]] = {"PluginRunner": [], "ProcessPoolExecutor": []}
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:

        async def ours() -> None:
            outcome = await runner.run(Call("bench", data=DATA))
            assert outcome.kind is OutcomeKind.COMPLETED

        async def theirs() -> None:
            await loop.run_in_executor(executor, answer, DATA)

        for act in (ours, theirs):
            await timed(act, [])
        for _ in range(ROUNDS):
            await timed(ours, times["PluginRunner"])
            await timed(theirs, times["ProcessPoolExecutor"])
    await runner.stop(1)
    return times


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        times = _run(measure(Path(folder)))
    medians = {}
    for name, values in times.items():
        medians[name] = statistics.median(values)
        p99 = statistics.quantiles(values, n=100)[98]
        print(f"dispatch  {name:20} p50 {medians[name]:6.0f} µs   p99 {p99:6.0f} µs   n {len(values)}")
    print(f"dispatch  ratio of medians     {medians['PluginRunner'] / medians['ProcessPoolExecutor']:.2f}")


def _run(work: Any) -> Any:
    import uvloop  # noqa: PLC0415 - the server's loop; asyncio's own differs by some 10 µs

    return uvloop.run(work)


if __name__ == "__main__":
    main()
