"""SIGKILL under load: what was answered is on record, once and right, and nothing runs for ever."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import sqlite3
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import databases
import pytest
from bridge_process import is_alive, until
from deliveries import Account, Answer, Delivery, Load, delivery
from sqlalchemy import create_engine, select

from otel_tracker.storage.tables import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge_process import BridgeProcess

    Lock = Callable[[], contextlib.AbstractContextManager[None]]

PLUGINS = {
    "echo": "def handle(event):\n    return event.data\n",
    "fail": "def handle(event):\n    raise ValueError('refused ' + event.data['ticket'])\n",
    "doze": "import time\ndef handle(event):\n    time.sleep(0.05)\n    return {'slept': event.data['ticket']}\n",
    "hang": "import time\ndef handle(event):\n    time.sleep(600)\n",
}
SHARES = {"echo": 700, "fail": 200, "doze": 95, "hang": 5}
PADDING = {0: 40, 200: 40, 4_000: 17, 60_000: 3}
DELIVERIES_A_BURST = 2_000
ANSWERS = {"echo": (200, 503), "fail": (500, 503), "doze": (200, 503), "hang": (504, 503)}
STATUSES = {200: "completed", 500: "failed", 503: "failed", 504: "timeout"}
DRIVERS = {"postgresql": "+psycopg://", "mysql": "+pymysql://"}
# One cycle of kills: the fourth hits the adoption of what the third left undrained, the fifth a start.
CYCLE = ("load", "load", "backlog", "adoption", "start")


@dataclass(slots=True)
class Verdict:
    """What the history says of every delivery, compared with what the senders saw."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def blame(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self.complaints.append(f"{kind}: {what}")


@contextlib.contextmanager
def locked_file(bridge: BridgeProcess) -> Iterator[None]:
    """Another program writes into the database: the drain waits, and the spool grows."""
    connection = sqlite3.connect(bridge.folder / "data" / "executions.db", isolation_level=None, timeout=10)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def locked_server(url: str) -> Iterator[None]:
    """The same on a server: the row that every write transaction begins with is another's."""
    engine = create_engine(url.replace("://", DRIVERS[url.partition(":")[0]], 1))
    with engine.connect() as connection, connection.begin():
        connection.execute(select(settings).with_for_update()).all()
        yield
    engine.dispose()


class Siege:
    """One bridge that is killed again and again, and the account of all deliveries to it."""

    def __init__(self, bridge: BridgeProcess, *, lock: Lock, seed: int) -> None:
        self.bridge = bridge
        self._lock = lock
        self.account = Account()
        self._random = random.Random(seed)  # noqa: S311 - chooses moments, guards nothing
        self._numbers = itertools.count()
        self._start_seconds = 1.0
        for name, source in PLUGINS.items():
            bridge.plugin(name, source)
        bridge._environment |= {"BRIDGE__PLUGINS__TIMEOUT_SECONDS": "0.5", "BRIDGE__PLUGINS__WORKERS": "4"}

    def kill(self, moment: str) -> None:
        """Start the bridge and kill it at such a moment."""
        began = time.monotonic()
        self.bridge.spawn()
        match moment:
            case "start":
                time.sleep(self._random.uniform(0.0, self._start_seconds))
            case "adoption":
                assert until(lambda: "storage initialized" in self.bridge.log_of_this_start, seconds=30)
                time.sleep(self._random.uniform(0.0, 0.1))
            case _:
                self.bridge.wait_until_ready()
                self._start_seconds = time.monotonic() - began
                load = Load(self.bridge.url, self._deliveries(), self.account).start()
                with self._lock() if moment == "backlog" else contextlib.nullcontext():
                    time.sleep(self._random.uniform(0.05, 1.2))
                    workers = self.bridge.descendants()
                    self.bridge.kill()
                load.join()
                assert until(lambda: not any(map(is_alive, workers))), "plugins outlive the bridge"
                return
        self.bridge.kill()

    def _deliveries(self) -> Iterator[Delivery]:
        for number in itertools.islice(self._numbers, DELIVERIES_A_BURST):
            (plugin,) = self._random.choices(list(SHARES), list(SHARES.values()))
            (padding,) = self._random.choices(list(PADDING), list(PADDING.values()))
            yield delivery(f"t{number}", plugin, padding="p" * padding)

    def verdict(self) -> Verdict:
        """Start once more, wait until everything is taken in, at most 5 s, and compare."""
        self.bridge.start()
        until(self._is_settled, seconds=5)
        verdict = Verdict()
        records = list(self._history())
        verdict.counts["records"] = len(records)
        by_id = {record["id"]: record for record in records}
        by_ticket = Counter(record["delivery_id"] for record in records)
        for ticket, count in by_ticket.items():
            if count > 1:
                verdict.blame("doubled", f"{ticket} has {count} records")
        if len(by_id) < len(records):
            verdict.blame("doubled", "an id came twice")
        for record in records:
            self._judge_record(record, verdict)
        for answer in self.account.answers:
            _judge_answer(answer, by_id.get(answer.execution_id), verdict)
        answered = {answer.delivery.ticket for answer in self.account.answers}
        unanswered = self.account.sent.keys() - answered
        verdict.counts["sent"] = len(self.account.sent)
        verdict.counts["unanswered"] = len(unanswered)
        verdict.counts["unanswered_on_record"] = len(unanswered & by_ticket.keys())
        return verdict

    def _is_settled(self) -> bool:
        spools = len(list((self.bridge.folder / "data" / "spool").iterdir()))
        health = self.bridge.client.get("/health").json()
        return spools == 1 and health["spool"]["frames"] == 0

    def _history(self) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self.bridge.get("/executions", limit=500, **({"cursor": cursor} if cursor else {}))
            yield from page["executions"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def _judge_record(self, record: dict[str, Any], verdict: Verdict) -> None:
        """What holds for a record whether or not its sender saw an answer."""
        sent = self.account.sent.get(record["delivery_id"])
        if record["status"] in ("running", "pending"):
            verdict.blame("stuck", f"{record['id']} is {record['status']}")
            return
        if sent is None:
            verdict.blame("wrong", f"{record['id']} is a record of nothing that was sent")
            return
        interrupted = record["error_type"] == "interrupted"
        verdict.counts["interrupted"] += interrupted
        outcomes = {STATUSES[status] for status in ANSWERS[sent.plugin]}
        if (
            record["plugin_name"] != sent.plugin
            or json.loads(record["input"]) != json.loads(sent.body)
            or record["status"] not in outcomes
            or (interrupted and (record["status"] != "failed" or record["end_time"] < record["start_time"]))
        ):
            verdict.blame("wrong", f"{sent.plugin} {sent.ticket} is on record as {_short(record)}")


def _judge_answer(answer: Answer, record: dict[str, Any] | None, verdict: Verdict) -> None:
    verdict.counts["answered"] += 1
    verdict.counts[f"durable_{answer.durable}"] += 1
    verdict.counts[f"http_{answer.status}"] += 1
    sent = answer.delivery
    if answer.status not in ANSWERS[sent.plugin]:
        verdict.blame("wrong", f"{sent.plugin} {sent.ticket} was answered with {answer.status} {answer.body!r:.200}")
    elif record is None:
        kind = "lost" if answer.durable in ("disk", "process") else "lost_unacknowledged"
        verdict.blame(kind, f"{sent.plugin} {sent.ticket} ({answer.execution_id}, {answer.durable})")
    elif not _agrees(answer, record):
        verdict.blame("wrong", f"{sent.ticket}: {answer.status} {answer.body!r:.200}, on record {_short(record)}")


def _agrees(answer: Answer, record: dict[str, Any]) -> bool:
    told = json.loads(answer.body)
    if (record["delivery_id"], record["status"]) != (answer.delivery.ticket, STATUSES[answer.status]):
        return False
    if answer.status == 200:
        return bool(json.loads(record["output"]) == told and not record["error"] and not record["error_type"])
    return bool(record["error_type"] == told["error_type"] and record["error"] in told["detail"])


def _short(record: dict[str, Any]) -> str:
    return f"{ {name: str(value)[:100] for name, value in record.items()} }"


def besiege(bridge: BridgeProcess, *, kills: int, lock: Lock | None = None) -> Verdict:
    seed = random.randrange(2**32)  # noqa: S311 - pytest-randomly seeds it and prints its seed
    siege = Siege(bridge, lock=lock or partial(locked_file, bridge), seed=seed)
    for _, moment in zip(range(kills), itertools.cycle(CYCLE), strict=False):
        siege.kill(moment)
    return siege.verdict()


def told(verdict: Verdict, *, kills: int) -> str:
    return f"\n{kills} kills: {', '.join(f'{name} {count}' for name, count in sorted(verdict.counts.items()))}\n"


def test_10_kills_under_load_lose_double_and_falsify_nothing(
    bridge: BridgeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = besiege(bridge, kills=10)
    with capsys.disabled():
        sys.stdout.write(told(verdict, kills=10))
    check(verdict, kills=10)


@pytest.mark.soak
def test_100_kills_under_load_lose_double_and_falsify_nothing(
    bridge: BridgeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = besiege(bridge, kills=100)
    with capsys.disabled():
        sys.stdout.write(told(verdict, kills=100))
    check(verdict, kills=100)


@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_kills_with_the_history_on_a_server(
    kind: str, kills: int, bridge: BridgeProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with databases.made(kind, folder=tmp_path) as url:
        bridge._environment |= databases.settings(url)
        verdict = besiege(bridge, kills=kills, lock=partial(locked_server, url))
        with capsys.disabled():
            sys.stdout.write(f"{kind}, {told(verdict, kills=kills).lstrip()}")
        bridge.stop()
        check(verdict, kills=kills)


def check(verdict: Verdict, *, kills: int) -> None:
    counts = verdict.counts
    assert verdict.complaints == []
    assert counts["answered"] >= kills * 20
    assert counts["durable_disk"] >= 0.9 * counts["answered"]
