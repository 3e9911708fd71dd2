"""The drain process against real ends: its own, its parent's, and a stop that has to wait for it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge_process import BridgeProcess

ECHO = "def handle(event):\n    return event.data\n"


def until(condition: Callable[[], Any], *, seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def drain_of(bridge: BridgeProcess) -> psutil.Process | None:
    assert bridge._process
    children = psutil.Process(bridge._process.pid).children()
    return next((child for child in children if "exporters.drain_worker" in child.cmdline()), None)


def has_another_drain(bridge: BridgeProcess, than: psutil.Process) -> bool:
    return drain_of(bridge) not in {None, than}


def stored(bridge: BridgeProcess) -> list[str]:
    return [record["id"] for record in bridge.get("/executions", limit=1000)["executions"]]


def test_a_killed_drain_process_is_replaced_and_nothing_is_lost_or_doubled(bridge: BridgeProcess) -> None:
    bridge.plugin("echo", ECHO)
    bridge.start()
    acknowledged = []
    for _ in range(3):
        victim = until(lambda: drain_of(bridge))
        for number in range(30):
            acknowledged.append(bridge.post("echo", {"number": number}).headers["X-Execution-Id"])
            if number == 15:
                victim.kill()
        assert until(partial(has_another_drain, bridge, victim))
    assert until(lambda: len(stored(bridge)) == len(acknowledged))
    assert sorted(stored(bridge)) == sorted(acknowledged)
    assert until(lambda: bridge.client.get("/health").json()["status"] == "ok")
    assert "The drain process ended (exit status -9); it is started again" in bridge.log


def test_records_can_be_read_by_id_while_nobody_drains(bridge: BridgeProcess) -> None:
    bridge.plugin("echo", ECHO)
    bridge.start()
    victim = until(lambda: drain_of(bridge))
    victim.suspend()
    try:
        answer = bridge.post("echo", {"number": 1})
        assert answer.headers["X-Execution-Durable"] == "disk"
        assert bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")["status"] == "completed"
        assert stored(bridge) == []
    finally:
        victim.resume()
    assert until(lambda: stored(bridge) == [answer.headers["X-Execution-Id"]])


def test_the_drain_process_ends_with_a_killed_bridge(bridge: BridgeProcess) -> None:
    bridge.plugin("echo", ECHO)
    bridge.start()
    drain = until(lambda: drain_of(bridge))
    bridge.kill()
    assert until(lambda: not drain.is_running() or drain.status() == psutil.STATUS_ZOMBIE)


def test_a_stop_waits_until_everything_is_in_the_store(bridge: BridgeProcess) -> None:
    bridge.plugin("echo", ECHO)
    bridge.start()
    acknowledged = [bridge.post("echo", {"number": n}).headers["X-Execution-Id"] for n in range(200)]
    drain = until(lambda: drain_of(bridge))
    assert bridge.stop() == 0
    assert not drain.is_running()
    assert not list((bridge.folder / "data" / "spool").iterdir())
    bridge.start()
    assert sorted(stored(bridge)) == sorted(acknowledged)


def test_the_drain_process_steps_back_for_the_one_that_serves(bridge: BridgeProcess) -> None:
    bridge.plugin("echo", ECHO)
    bridge.start()
    drain = until(lambda: drain_of(bridge))
    assert until(lambda: drain.nice() > psutil.Process(drain.ppid()).nice())
    autogroup = Path(f"/proc/{drain.pid}/autogroup")
    if autogroup.exists():  # kernels without it have sessions share by nice values alone
        assert "nice 5" in autogroup.read_text()
