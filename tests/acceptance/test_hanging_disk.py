"""The disk takes its time again and again: what is in a file and not yet synced is lost by nobody.

The appender process, which writes and syncs for the server, is stopped (SIGSTOP) in the middle of whatever it does and
goes on a moment later; that is how a hanging sync looks from outside. Meanwhile others write in its place.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from bridge_process import until

from benchmarks.load import drive, post

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]
    from bridge_process import BridgeProcess

HANG_SECONDS, PAUSE_SECONDS = (0.03, 0.3), (0.01, 0.05)
"""An answer waits 50 ms at the most: some hangs are shorter, most are longer."""


def appender(bridge: BridgeProcess) -> psutil.Process:
    return next(one for one in bridge.descendants() if any("appender_worker" in word for word in one.cmdline()))


def hang(process: psutil.Process, stop: threading.Event, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - any times will do
    while not stop.is_set():
        process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(*HANG_SECONDS))
        process.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(*PAUSE_SECONDS))


@pytest.mark.parametrize(
    ("seconds", "seed"),
    [(6.0, 1), *(pytest.param(20.0, seed, marks=pytest.mark.soak) for seed in range(2, 12))],
)
def test_every_answer_is_on_record_after_many_hangs(bridge: BridgeProcess, seconds: float, seed: int) -> None:
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    bridge.start()
    bridge.post("echo", {})
    stop = threading.Event()
    hanging = threading.Thread(target=hang, args=(appender(bridge), stop, seed))
    hanging.start()
    request = post("/api/v1/webhook/echo", b'{"padding":"' + b"x" * 1000 + b'"}')
    load = drive(int(bridge.url.rpartition(":")[2]), request, connections=16, seconds=seconds)
    stop.set()
    hanging.join()
    assert set(load.statuses) == {200}
    answered = load.statuses[200] + 1
    settled = {"started": answered, "stored": answered, "spooled": 0, "in_flight": 0, "dropped": {}}
    assert until(lambda: bridge.client.get("/health").json()["accounting"] == settled, seconds=40), bridge.client.get(
        "/health"
    ).json()
    assert bridge.get("/executions/stats")["total_executions"] == answered
    assert bridge.get("/executions", limit=1)["total"] == answered
