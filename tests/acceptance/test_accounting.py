"""started = stored + spooled + in flight + dropped, of a real bridge: in traffic, without room, without a store."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import until

from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge_process import BridgeProcess

ECHO = "def handle(event):\n    return event.data\n"
FAILING = "def handle(event):\n    raise ValueError('no')\n"
WAITING = """
import pathlib, time

def handle(event):
    while not pathlib.Path(event.data["until"]).exists():
        time.sleep(0.01)
"""
PADDING = "x" * 5000


@pytest.fixture
def bridge(bridge: BridgeProcess) -> BridgeProcess:
    for name, source in {"echo": ECHO, "failing": FAILING, "waiting": WAITING}.items():
        bridge.plugin(name, source)
    return bridge


def health(bridge: BridgeProcess) -> Any:
    return bridge.client.get("/health").json()


def accounting(bridge: BridgeProcess) -> dict[str, Any]:
    """The figures of `/health`; that they add up is checked each time, so nothing may move meanwhile."""
    found: dict[str, Any] = health(bridge)["accounting"]
    told = found["stored"] + found["spooled"] + found["in_flight"] + sum(found["dropped"].values())
    assert found["started"] == told, found
    return found


def figures(started: int, *, stored: int = 0, spooled: int = 0, in_flight: int = 0, **dropped: int) -> dict[str, Any]:
    return {"started": started, "stored": stored, "spooled": spooled, "in_flight": in_flight, "dropped": dropped}


def metrics(bridge: BridgeProcess) -> dict[str, float]:
    lines = re.findall(
        r"^webhook_bridge_executions_(\S+?)(?:\{.*\})? (\S+)$", bridge.client.get("/metrics").text, re.MULTILINE
    )
    return {name: float(value) for name, value in lines if "_bucket" not in name}


def deliver(bridge: BridgeProcess, count: int) -> list[str]:
    """What the answers say in X-Execution-Durable."""
    answers = [bridge.post("echo", {"n": number, "padding": PADDING}) for number in range(count)]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.headers["X-Execution-Durable"] for answer in answers]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program has the database to itself."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def limited(bridge: BridgeProcess, max_bytes: int) -> Path:
    """With a spool of this size, and a database that is there; its path."""
    bridge._environment["BRIDGE__EXECUTION_TRACKING__SPOOL__MAX_BYTES"] = str(max_bytes)
    path = bridge.folder / "data" / "executions.db"
    open_store(f"sqlite:///{path}").close()
    return path


def test_in_traffic_every_execution_is_stored_and_all_three_places_say_so(bridge: BridgeProcess) -> None:
    """Starts and ends are frames of their own, an execution counts once."""
    bridge.start()
    gate = bridge.folder / "gate"
    with ThreadPoolExecutor(8) as pool:
        waiting = pool.submit(bridge.post, "waiting", {"until": str(gate)})
        plugins = ["echo", "echo", "failing"] * 40
        assert {answer.status_code for answer in pool.map(lambda name: bridge.post(name, {}), plugins)} == {200, 500}
        assert until(lambda: bridge.get("/executions", status="running")["total"] == 1)
        assert until(lambda: accounting(bridge) == figures(121, stored=120, in_flight=1))
        gate.touch()
        waiting.result()
    assert until(lambda: accounting(bridge) == figures(121, stored=121))
    info = bridge.get("/executions/storage/info")
    assert info["accounting"] == figures(121, stored=121)
    assert info["total_records"] == 121
    assert health(bridge)["spool"]["delivered"] > 121
    told = metrics(bridge)
    assert [told[f"{name}_total"] for name in ("started", "stored")] == [121, 121]
    assert [told[name] for name in ("spooled", "in_flight")] == [0, 0]
    assert "dropped_total" not in told
    assert health(bridge)["status"] == "ok"


def test_what_a_full_spool_refuses_is_dropped_and_is_what_was_answered_with_none(bridge: BridgeProcess) -> None:
    path = limited(bridge, 200_000)
    bridge.start()
    with locked(path):
        said = deliver(bridge, 60)
        lost = said.count("none")
        assert 0 < lost < 60
        assert accounting(bridge) == figures(60, spooled=60 - lost, spool_full=lost)
        assert metrics(bridge)["dropped_total"] == lost
    assert until(lambda: accounting(bridge) == figures(60, stored=60 - lost, spool_full=lost))
    assert bridge.get("/executions")["total"] == 60 - lost
    told = health(bridge)
    assert (told["storage"], told["status"]) == ("ok", "degraded")


def test_an_end_that_is_refused_is_dropped_and_its_record_stays_running(bridge: BridgeProcess) -> None:
    """Its start was stored; nothing pretends that its end was."""
    path = limited(bridge, 100_000)
    bridge.start()
    gate = bridge.folder / "gate"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bridge.post, "waiting", {"until": str(gate), "padding": PADDING})
        assert until(lambda: bridge.get("/executions", status="running")["total"] == 1)
        with locked(path):
            lost = deliver(bridge, 40).count("none")
            gate.touch()
            assert waiting.result().headers["X-Execution-Durable"] == "none"
            assert accounting(bridge) == figures(41, spooled=40 - lost, spool_full=lost + 1)
    assert until(lambda: accounting(bridge) == figures(41, stored=40 - lost, spool_full=lost + 1))
    assert bridge.get("/executions", status="running")["total"] == 1


def test_while_the_store_is_away_executions_are_spooled(bridge: BridgeProcess) -> None:
    path = limited(bridge, 10_000_000)
    bridge.start()
    deliver(bridge, 3)
    assert until(lambda: accounting(bridge) == figures(3, stored=3))
    with locked(path):
        deliver(bridge, 5)
        assert accounting(bridge) == figures(8, stored=3, spooled=5)
    assert until(lambda: accounting(bridge) == figures(8, stored=8))


def test_a_new_process_accounts_for_its_own_and_takes_in_what_a_dead_one_left(bridge: BridgeProcess) -> None:
    path = limited(bridge, 10_000_000)
    bridge.start()
    with locked(path):
        deliver(bridge, 5)
        bridge.kill()
    bridge.start()
    assert until(lambda: bridge.get("/executions")["total"] == 5)
    assert accounting(bridge) == figures(0)
    deliver(bridge, 2)
    assert until(lambda: accounting(bridge) == figures(2, stored=2))
    assert bridge.get("/executions")["total"] == 7


def test_what_the_database_refuses_for_good_is_dropped(bridge: BridgeProcess) -> None:
    path = limited(bridge, 10_000_000)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON executions WHEN new.plugin_name = 'failing'"
            " BEGIN SELECT RAISE(ABORT, 'not that one'); END"
        )
    bridge.start()
    for name in ("echo", "failing", "failing", "echo", "echo"):
        bridge.post(name, {})
    assert until(lambda: accounting(bridge) == figures(5, stored=3, rejected=2))
    assert bridge.get("/executions")["total"] == 3
    assert len(list((path.parent / "spool").glob("*/dead/*"))) == 2
    assert health(bridge)["status"] == "degraded"


def test_without_a_place_for_a_spool_everything_is_dropped(bridge: BridgeProcess) -> None:
    (bridge.folder / "data").write_text("in the way")
    bridge.start()
    assert deliver(bridge, 3) == ["none"] * 3
    assert accounting(bridge) == figures(3, no_spool=3)


def test_the_store_tells_of_its_tables_and_of_the_last_cleanup(bridge: BridgeProcess) -> None:
    bridge.start()
    assert until(lambda: bridge.get("/executions/storage/info")["tables"])
    info = bridge.get("/executions/storage/info")
    assert {"executions", "execution_payloads", "spans"} < set(info["tables"])
    assert min(info["tables"].values()) > 0
    assert sum(info["tables"].values()) <= info["size"]
    assert info["free_bytes"] > 0
    assert (info["growth_per_day"], info["days_until_full"], info["last_cleanup"]) == (None, None, None)
    bridge.client.delete("/api/v1/executions/cleanup")
    cleanup = bridge.get("/executions/storage/info")["last_cleanup"]
    assert (cleanup["deleted"], cleanup["freed_bytes"]) == (0, 0)
