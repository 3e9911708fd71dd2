"""What a database that fails costs a webhook, what it loses, and how fast the spool is caught up while traffic goes on.

    python -m benchmarks.bench_outage [sqlite postgresql mysql]

For each kind of outage a bridge and a database of its own; bursts of 16 connections in turn, the database well and
not. Every execution that was answered is counted in the store afterwards. Then, after the database was frozen, the
backlog is drained while a paced sender goes on, and the records that reach the store are compared with those that come.
The servers are our own (`own_servers`), which sync as those of everybody do.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import func, select

from benchmarks.bridge import BODY, bridge, storage_settings
from benchmarks.faulty_proxy import FaultyProxy
from benchmarks.load import drive, post
from benchmarks.outages import Account, cut_in, locked, missing_table, missing_table_of_file, slow
from benchmarks.own_servers import OwnMariaDB, OwnPostgreSQL
from benchmarks.small_disk import NotOnThisMachine, SmallDisk
from otel_tracker.storage import open_store
from otel_tracker.storage.tables import executions, rollups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.load import Load
    from benchmarks.own_servers import OwnServer

    Outage = Callable[[], AbstractContextManager[None]]

ROUNDS, SECONDS = 4, 2.0
PACED_PER_SECOND = 400
BACKLOG = 30_000
DISK_BYTES = 640 << 20
REQUEST = post("/api/v1/webhook/bench", BODY)
SERVERS: dict[str, type[OwnServer]] = {"postgresql": OwnPostgreSQL, "mysql": OwnMariaDB}
KINDS = ("sqlite", *SERVERS)
OF_FILE = ("frozen", "full", "missing table")
OF_SERVER = ("stopped", "frozen", "slow", "read-only", "full", "wrong password", "missing table", "cut in COMMIT")


@dataclass(slots=True)
class Site:
    """A bridge whose database has one kind of outage."""

    port: int
    url: str
    outage: Outage
    answers: int = 0
    p99: list[tuple[float, float]] = field(default_factory=list)
    """Of each round in milliseconds: the database well, and not."""
    waited: int = 0
    """Records in the spool when the last outage ended."""

    def burst(self) -> Load:
        """Every answer is 200."""
        load = drive(self.port, REQUEST, connections=16, seconds=SECONDS)
        assert set(load.statuses) == {200}, load.statuses
        self.answers += load.statuses[200]
        return load

    def send(self, count: int, *, connections: int = 16) -> None:
        """So many requests."""
        self.answers += drive(self.port, REQUEST, connections=connections, count=count).statuses[200]

    def health(self) -> dict[str, int]:
        """What `/health` says of the spool."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as answer:
            spool: dict[str, int] = json.load(answer)["spool"]
            return spool

    def wait_until_drained(self) -> None:
        """Nothing is left in the spool; raises where that takes two minutes."""
        deadline = time.monotonic() + 120
        while self.health()["frames"]:
            assert time.monotonic() < deadline, self.health()
            time.sleep(0.05)

    def lost_and_doubled(self) -> tuple[int, int]:
        """Answers without a record; and executions that were counted more than once."""
        self.wait_until_drained()
        with contextlib.closing(open_store(self.url)) as store, store._database.read() as connection:  # noqa: SLF001
            stored = connection.execute(select(func.count()).select_from(executions)).scalar_one()
            width = select(func.max(rollups.c.width)).scalar_subquery()
            counted = connection.execute(select(func.sum(rollups.c.total)).where(rollups.c.width == width)).scalar_one()
        return self.answers - stored, int(counted) - stored


@contextlib.contextmanager
def site_on_file(name: str, folder: Path) -> Iterator[Site]:
    """SQLite, its file on a small disk where that is to be full."""
    with ExitStack() as stack:
        place = folder / "database"
        place.mkdir()
        file = place / "executions.db"
        outages: dict[str, Outage] = {
            "frozen": lambda: locked(file),
            "missing table": lambda: missing_table_of_file(file),
        }
        if name == "full":
            disk = stack.enter_context(contextlib.closing(SmallDisk(place, size_bytes=DISK_BYTES)))
            outages["full"] = disk.full
        spool = {"EXECUTION_TRACKING__SPOOL__DIRECTORY": str(folder / "spool")}
        url = f"sqlite:///{file}"
        settings = {"STORAGE__SQLITE__DATABASE_PATH": str(file), "STORAGE__SQLITE__RETENTION_DAYS": "36500"}
        port, _ = stack.enter_context(bridge(folder, **settings, **spool))
        yield Site(port, url, outages[name])


@contextlib.contextmanager
def site_on_server(name: str, folder: Path, server: OwnServer) -> Iterator[Site]:
    """A database of its own there; a proxy in between only where it is needed."""
    with ExitStack() as stack:
        database = f"bench_{name.lower().replace(' ', '_').replace('-', '_')}"
        url = stack.enter_context(server.database(database))
        account = Account(server, database)
        stack.callback(account.drop)
        proxy = stack.enter_context(contextlib.closing(FaultyProxy(server.port)))
        outages: dict[str, Outage] = {
            "stopped": server.stopped,
            "frozen": server.frozen,
            "slow": lambda: slow(proxy),
            "read-only": account.read_only,
            "full": server.full_disk,
            "wrong password": account.wrong_password,
            "missing table": lambda: missing_table(server, database),
            "cut in COMMIT": lambda: cut_in(proxy, "COMMIT"),
        }
        reached = urlsplit(account.url_of(url))
        if name in {"slow", "cut in COMMIT"}:
            reached = reached._replace(netloc=f"{account.user}:{account.password}@127.0.0.1:{proxy.port}")
        port, _ = stack.enter_context(bridge(folder, **storage_settings(reached.geturl())))
        yield Site(port, url, outages[name])


@contextlib.contextmanager
def site(kind: str, name: str, server: OwnServer | None) -> Iterator[Site]:
    """On that server, or on one with a small disk of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if server and name == "full":
            server = stack.enter_context(SERVERS[kind].running(disk_bytes=DISK_BYTES))
        made = site_on_server(name, folder, server) if server else site_on_file(name, folder)
        yield stack.enter_context(made)


def run_rounds(at: Site, *, is_full: bool) -> None:
    """Bursts in turn, the database well and not."""
    at.burst()
    for _ in range(ROUNDS):
        at.wait_until_drained()
        well = at.burst()
        at.wait_until_drained()
        with at.outage():
            while is_full and at.health()["frames"] < PACED_PER_SECOND:  # until there is no room in its pages either
                at.send(PACED_PER_SECOND)
                time.sleep(0.2)
            not_well = at.burst()
            at.waited = at.health()["frames"]
            assert at.waited > not_well.statuses[200] / 2, f"there was no outage: {at.health()}"
        at.p99.append((well.quantile(0.99), not_well.quantile(0.99)))
    at.wait_until_drained()


def caught_up(at: Site) -> tuple[float, float]:
    """Records stored a second, and those that came a second, from the end of an outage until the backlog is gone."""
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            begun = time.perf_counter()
            at.send(PACED_PER_SECOND // 10, connections=4)
            sent += PACED_PER_SECOND // 10
            time.sleep(max(0.0, 0.1 - (time.perf_counter() - begun)))

    sender = threading.Thread(target=send)
    with at.outage():
        at.send(BACKLOG)
        sender.start()
        before = at.health()["delivered"]
    while at.health()["delivered"] == before:
        time.sleep(0.005)
    begun, first, sent_before = time.perf_counter(), at.health()["delivered"], sent
    while at.health()["frames"] > PACED_PER_SECOND:
        time.sleep(0.01)
    seconds = time.perf_counter() - begun
    rates = (at.health()["delivered"] - first) / seconds, (sent - sent_before) / seconds
    stop.set()
    sender.join()
    return rates


def measure(kind: str, name: str, server: OwnServer | None) -> None:
    """Print the line of one outage; of the frozen database one more."""
    with site(kind, name, server) as at:
        run_rounds(at, is_full=name == "full")
        rates = caught_up(at) if name == "frozen" else None
        lost, doubled = at.lost_and_doubled()
    well, not_well = (statistics.median(column) for column in zip(*at.p99, strict=True))
    added = statistics.median(b - a for a, b in at.p99)
    print(
        f"outage    {kind:10} {name:14} p99 well {well:5.2f} ms, then {not_well:5.2f}: added {added:5.2f} ms "
        f"(must 5, aim 1); lost {lost} of {at.answers}, doubled {doubled}; {at.waited} were waiting",
        flush=True,
    )
    if rates:
        stored, arriving = rates
        print(
            f"outage    {kind:10} caught up at {stored:.0f} records/s while {arriving:.0f} came: "
            f"ratio {stored / max(arriving, 1):.1f} (must 5, aim 10)",
            flush=True,
        )


def main(kinds: Sequence[str] = KINDS) -> None:
    """Print a line for each kind of outage of each."""
    for kind in kinds:
        try:
            if kind == "sqlite":
                for name in OF_FILE:
                    measure(kind, name, None)
            else:
                with SERVERS[kind].running(is_durable=True) as server:
                    for name in OF_SERVER:
                        measure(kind, name, server)
        except NotOnThisMachine as missing:
            print(f"outage    {kind:10} left out: {missing}")


if __name__ == "__main__":
    main(sys.argv[1:] or KINDS)
