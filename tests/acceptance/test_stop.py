"""A stop that was asked for: running plugins get the grace, the history is whole before the process ends."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import is_alive, until
from deliveries import Account, Load, delivery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from bridge_process import BridgeProcess

GATE = """
import pathlib, time
def handle(event):
    pathlib.Path(event.data['entered']).touch()
    while not pathlib.Path(event.data['gate']).exists():
        time.sleep(0.01)
    return {'passed': True}
"""
ECHO = "def handle(event):\n    return event.data\n"
KEPT = {"disk", "process"}  # disk, but for a machine so busy that a sync takes 50 ms


class Held:
    """A delivery whose plugin runs until the test opens the gate."""

    def __init__(self, bridge: BridgeProcess, pool: ThreadPoolExecutor, name: str) -> None:
        self.entered, self._gate = bridge.folder / f"{name}.entered", bridge.folder / f"{name}.gate"
        body = {"entered": str(self.entered), "gate": str(self._gate)}
        self.answer: Future[httpx.Response] = pool.submit(bridge.post, "gate", body)

    def runs(self) -> bool:
        return self.entered.exists() and not self.answer.done()

    def let_go(self) -> None:
        self._gate.touch()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def gated(bridge: BridgeProcess) -> BridgeProcess:
    bridge.plugin("gate", GATE)
    bridge.plugin("echo", ECHO)
    return bridge


def ask(bridge: BridgeProcess, method: str, path: str) -> tuple[int, dict[str, str], dict[str, Any]] | None:
    """A new connection's answer; None where nobody listens."""
    connection = http.client.HTTPConnection(bridge.client.base_url.netloc.decode(), timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request(method, path, headers={"Content-Length": "2"}, body=b"{}")
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.load(answer)
        except OSError:
            return None


def health(bridge: BridgeProcess) -> tuple[int, str]:
    answer = ask(bridge, "GET", "/health")
    return (answer[0], answer[2]["status"]) if answer else (0, "")


def stored(folder: Path) -> dict[str, tuple[str, str]]:
    """Status and error type by id, as they are in the database file, whatever the bridge does."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "executions.db")) as connection:
        rows = connection.execute("SELECT id, status, error_type, end_time FROM executions").fetchall()
    assert all(end is not None for *_, end in rows)
    return {id_: (status, error_type) for id_, status, error_type, _ in rows}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_turns_readiness_off_and_lets_running_plugins_answer(
    gated: BridgeProcess, pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    gated.start()
    held = Held(gated, pool, "one")
    assert until(held.runs)
    workers = gated.descendants()
    gated.process.send_signal(number)
    assert until(lambda: health(gated)[0] == 503)
    assert not until(lambda: health(gated) != (503, "stopping"), seconds=0.5)
    refused = ask(gated, "POST", "/api/v1/webhook/echo")
    assert refused is not None
    assert (refused[0], refused[1]["content-type"]) == (503, "application/problem+json")
    assert int(refused[1]["retry-after"]) >= 1
    assert held.runs()
    held.let_go()
    answer = held.answer.result(10)
    assert (answer.status_code, answer.json()) == (200, {"passed": True})
    assert answer.headers["X-Execution-Durable"] in KEPT
    assert gated.process.wait(10) == 0
    assert stored(gated.folder) == {answer.headers["X-Execution-Id"]: ("completed", "")}
    assert not any(map(is_alive, workers))


def test_what_outlives_the_grace_is_answered_503_and_recorded_as_interrupted(
    gated: BridgeProcess, pool: ThreadPoolExecutor
) -> None:
    """The one that runs, and the two that wait for its worker."""
    gated._environment |= {"BRIDGE__SERVER__SHUTDOWN_GRACE_SECONDS": "0.5", "BRIDGE__PLUGINS__WORKERS": "1"}
    gated.start()
    held = [Held(gated, pool, name) for name in ("one", "two", "three")]
    assert until(lambda: any(one.runs() for one in held))
    assert until(lambda: gated.get("/executions", status="running")["total"] == 3)
    workers = gated.descendants()
    began = time.monotonic()
    gated.process.send_signal(signal.SIGTERM)
    answers = [one.answer.result(10) for one in held]
    assert 0.4 < time.monotonic() - began < 3
    assert [(a.status_code, a.headers["content-type"]) for a in answers] == [(503, "application/problem+json")] * 3
    assert [a.json()["error_type"] for a in answers] == ["interrupted"] * 3
    assert {a.headers["X-Execution-Durable"] for a in answers} <= KEPT
    assert gated.process.wait(10) == 0
    assert stored(gated.folder) == {a.headers["X-Execution-Id"]: ("failed", "interrupted") for a in answers}
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_cuts_the_grace(gated: BridgeProcess, pool: ThreadPoolExecutor, number: signal.Signals) -> None:
    gated._environment["BRIDGE__SERVER__SHUTDOWN_GRACE_SECONDS"] = "60"
    gated.start()
    held = Held(gated, pool, "one")
    assert until(held.runs)
    workers = gated.descendants()
    gated.process.send_signal(number)
    assert until(lambda: health(gated)[0] == 503)
    began = time.monotonic()
    gated.process.send_signal(number)
    answer = held.answer.result(10)
    assert gated.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert answer.status_code == 503
    assert stored(gated.folder) == {answer.headers["X-Execution-Id"]: ("failed", "interrupted")}
    assert not any(map(is_alive, workers))


def test_a_stop_under_load_leaves_a_whole_history(gated: BridgeProcess) -> None:
    """Nothing waits for the next start: every record is in the database when the process is gone."""
    gated.start()
    account = Account()
    deliveries = (delivery(f"t{number}", "echo") for number in itertools.count())
    load = Load(gated.url, deliveries, account).start()
    assert until(lambda: len(account.answers) >= 300)
    began = time.monotonic()
    gated.process.send_signal(signal.SIGTERM)
    assert gated.process.wait(10) == 0
    assert time.monotonic() - began < 4
    load.join()
    assert {answer.status for answer in account.answers} <= {200, 503}
    completed = {answer.execution_id for answer in account.answers if answer.status == 200}
    assert len(completed) >= 300
    assert {id_ for id_, outcome in stored(gated.folder).items() if outcome == ("completed", "")} == completed


def test_a_store_that_is_away_does_not_hold_the_stop_up(gated: BridgeProcess) -> None:
    """The drain gets 3 s; what it could not deliver is taken in at the next start."""
    gated.start()
    assert gated.post("echo", {"n": 1}).status_code == 200
    assert until(lambda: len(stored(gated.folder)) == 1)
    with contextlib.closing(sqlite3.connect(gated.folder / "data" / "executions.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = gated.post("echo", {"n": 2})
        assert answer.headers["X-Execution-Durable"] in KEPT
        began = time.monotonic()
        assert gated.stop() == 0
        assert time.monotonic() - began < 5
    assert len(stored(gated.folder)) == 1
    gated.start()
    assert until(lambda: stored(gated.folder).get(answer.headers["X-Execution-Id"]) == ("completed", ""))


@pytest.mark.parametrize("words", ["Webhook bridge on", "storage initialized", "cleanup worker started"])
def test_a_signal_during_the_start_ends_it_cleanly(gated: BridgeProcess, words: str) -> None:
    gated.spawn()
    assert until(lambda: words in gated.log_of_this_start, seconds=30)
    workers = gated.descendants()
    gated.process.send_signal(signal.SIGTERM)
    assert gated.process.wait(10) in (0, -signal.SIGTERM)
    assert "Traceback" not in gated.log
    assert until(lambda: not any(map(is_alive, workers)))
