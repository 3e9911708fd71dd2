"""Faults of all our processes, by chance and again and again, under load: every answer is on record, and forwarded.

The appender, which writes and syncs for the server, is stopped in the middle of whatever it does and goes on a moment
later: that is how a disk looks that hangs, and meanwhile others write in its place. Drain and forwarder are killed and
stopped; the server itself is stopped, as a machine is that is moved.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from bridge_process import until

from benchmarks.load import drive, post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge_process import BridgeProcess

STOPPED_SECONDS, PAUSE_SECONDS = (0.03, 0.3), (0.01, 0.1)
"""An answer waits 50 ms at the most: some stops are shorter, most are longer."""
APPENDER, DRAIN, FORWARDER = "appender_worker", "exporters.drain_worker", "exporters.forwarding.worker"
REQUEST = post("/api/v1/webhook/echo", b'{"padding":"' + b"x" * 1000 + b'"}')
EXECUTION = re.compile(r'"otel_tracker\.execution\.id","value":\{"stringValue":"([^"]+)"')


class Chaos:
    """Faults of one bridge's processes, from `begin` to `end`."""

    def __init__(self, bridge: BridgeProcess, faults: Sequence[tuple[str, bool]], seed: int) -> None:
        """`faults`: a word of the command line of a process, the server where it is empty; and whether it is killed."""
        self.done = 0
        self._bridge = bridge
        self._faults = faults
        self._chance = random.Random(seed)  # noqa: S311 - any times will do
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            word, is_fatal = self._chance.choice(self._faults)
            for process in self._processes(word):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._kill(process) if is_fatal else self._halt(process)
                    self.done += 1
            time.sleep(self._chance.uniform(*PAUSE_SECONDS))

    def _kill(self, process: psutil.Process) -> None:
        process.kill()

    def _halt(self, process: psutil.Process) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*STOPPED_SECONDS))
        process.send_signal(signal.SIGCONT)

    def _processes(self, word: str) -> list[psutil.Process]:
        if not word:
            return [psutil.Process(self._bridge.process.pid)]
        found = []
        for process in self._bridge.descendants():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if any(word in part for part in process.cmdline()):
                    found.append(process)
        return found


HANGS = [(APPENDER, False)]
EVERYTHING = [*HANGS, (APPENDER, True), (DRAIN, False), (DRAIN, True), (FORWARDER, True), ("", False)]


@pytest.mark.parametrize(
    ("faults", "seconds", "seed"),
    [
        pytest.param(HANGS, 5.0, 1, id="the disk hangs"),
        pytest.param(EVERYTHING, 6.0, 2, id="everything"),
        *(pytest.param(HANGS, 20.0, seed, marks=pytest.mark.soak) for seed in range(3, 13)),
        *(pytest.param(EVERYTHING, 20.0, seed, marks=pytest.mark.soak) for seed in range(13, 33)),
    ],
)
def test_every_answer_is_on_record_and_forwarded(
    bridge: BridgeProcess, faults: Sequence[tuple[str, bool]], seconds: float, seed: int
) -> None:
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    destination = {"name": "file", "protocol": "file", "path": "spans.jsonl", "payload": "none"}
    (bridge.folder / "config.yaml").write_text(yaml.safe_dump({"forwarding": {"destinations": [destination]}}))
    bridge.start()
    chaos = Chaos(bridge, faults, seed)
    chaos.begin()
    load = drive(int(bridge.url.rpartition(":")[2]), REQUEST, connections=16, seconds=seconds)
    chaos.end()
    assert chaos.done > seconds
    assert set(load.statuses) == {200}
    answered = load.statuses[200]
    settled = {"started": answered, "stored": answered, "spooled": 0, "in_flight": 0, "dropped": {}}
    assert until(lambda: told(bridge) == settled, seconds=60), told(bridge)
    assert bridge.get("/executions/stats")["total_executions"] == answered
    assert bridge.get("/executions", limit=1)["total"] == answered
    assert until(lambda: len(forwarded(bridge)) == answered, seconds=60), len(forwarded(bridge))


def told(bridge: BridgeProcess) -> object:
    return bridge.client.get("/health").json()["accounting"]


def forwarded(bridge: BridgeProcess) -> set[str]:
    return set(EXECUTION.findall((bridge.folder / "spans.jsonl").read_text()))
