"""A database server stops, freezes, slows down, forgets, refuses: webhooks go on, and afterwards nothing is missing."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from bridge_process import BridgeProcess, until
from outages import (
    assert_all_is_well_and_on_record,
    assert_reads_say_that_it_is_away,
    bridge_at,
    deliver,
    health,
    listed,
)
from own_servers import OwnMariaDB, OwnPostgreSQL, OwnServer, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "once-upon-a-midnight"
_names = (f"history_{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=[OwnPostgreSQL, OwnMariaDB], ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    own: OwnServer = request.param()
    try:
        own.start()
        yield own
    finally:
        own.close()


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    with server.database(next(_names)) as made:
        yield made


@pytest.fixture
def proxy(server: OwnServer) -> Iterator[Proxy]:
    between = Proxy(server.port)
    yield between
    between.close()


@pytest.fixture
def bridge(tmp_path: Path, url: str) -> Iterator[BridgeProcess]:
    with contextlib.closing(bridge_at(tmp_path, url)) as made:
        yield made.start()


@pytest.fixture
def behind_proxy(tmp_path: Path, url: str, proxy: Proxy) -> Iterator[BridgeProcess]:
    with contextlib.closing(bridge_at(tmp_path, url, port=proxy.port)) as made:
        yield made.start()


def test_a_stopped_server(server: OwnServer, bridge: BridgeProcess) -> None:
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    server.kill()
    try:
        ids += deliver(bridge, 20)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: health(bridge)["status"] == "degraded")
        assert health(bridge)["spool"]["frames"] == 20
    finally:
        server.start()
    ids += deliver(bridge, 5)
    assert_all_is_well_and_on_record(bridge, ids)


def test_a_frozen_server(server: OwnServer, bridge: BridgeProcess) -> None:
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    server.freeze()
    try:
        ids += deliver(bridge, 20)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: health(bridge)["status"] == "degraded", seconds=20)
    finally:
        server.thaw()
    ids += deliver(bridge, 5)
    assert_all_is_well_and_on_record(bridge, ids)


def test_a_server_that_is_frozen_when_the_bridge_starts(server: OwnServer, url: str, tmp_path: Path) -> None:
    with contextlib.closing(bridge_at(tmp_path, url)) as bridge:
        server.freeze()
        try:
            bridge.start()
            ids = deliver(bridge, 5)
            assert_reads_say_that_it_is_away(bridge)
        finally:
            server.thaw()
        assert_all_is_well_and_on_record(bridge, ids)


def test_a_server_that_takes_two_seconds_for_each_answer(behind_proxy: BridgeProcess, proxy: Proxy) -> None:
    ids = deliver(behind_proxy, 5)
    assert until(lambda: listed(behind_proxy) == ids)
    proxy.delay_seconds = 2.0
    ids += deliver(behind_proxy, 20)
    with httpx.Client(base_url=behind_proxy.url, timeout=3.0) as client:
        assert client.get("/api/v1/executions").status_code == 503
    proxy.delay_seconds = 0.0
    assert_all_is_well_and_on_record(behind_proxy, ids)


@pytest.mark.parametrize("sends_commit", [True, False], ids=["in COMMIT", "in INSERT"])
def test_a_connection_that_is_cut(behind_proxy: BridgeProcess, proxy: Proxy, *, sends_commit: bool) -> None:
    """In COMMIT nobody can know whether it happened: it is done again, and nothing is doubled."""
    ids = deliver(behind_proxy, 5)
    assert until(lambda: listed(behind_proxy) == ids)
    proxy.cut_at = b"COMMIT" if sends_commit else b"INSERT"
    ids += deliver(behind_proxy, 20)
    assert until(lambda: proxy.cuts >= 2, seconds=20)
    proxy.cut_at = b""
    assert_all_is_well_and_on_record(behind_proxy, ids)


def test_a_table_that_is_missing(server: OwnServer, url: str, bridge: BridgeProcess) -> None:
    database = urlsplit(url).path.strip("/")
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    server.execute("ALTER TABLE execution_payloads RENAME TO hidden", database=database)
    ids += deliver(bridge, 20)
    assert until(lambda: health(bridge)["status"] == "degraded")
    assert until(lambda: bridge.client.get("/api/v1/executions").status_code == 503)
    server.execute("ALTER TABLE hidden RENAME TO execution_payloads", database=database)
    assert_all_is_well_and_on_record(bridge, ids)


def statements_to_refuse(server: OwnServer, database: str) -> tuple[list[str], list[str]]:
    """What has the server refuse writes of the account `limited`, which it makes, and what has it take them again."""
    if server.kind == "mysql":
        server.execute("CREATE USER limited@'127.0.0.1'", f"GRANT ALL ON {database}.* TO limited@'127.0.0.1'")
        return ["SET GLOBAL read_only = 1"], ["SET GLOBAL read_only = 0"]
    server.execute("CREATE USER limited", "GRANT ALL ON SCHEMA public TO limited", database=database)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'limited'"
    return (
        ["ALTER ROLE limited SET default_transaction_read_only = on", cut],
        ["ALTER ROLE limited RESET default_transaction_read_only", cut],
    )


def test_a_database_that_takes_no_writes(server: OwnServer, url: str, tmp_path: Path) -> None:
    """Reads go on; what came meanwhile is written once it may be."""
    refuse, allow = statements_to_refuse(server, urlsplit(url).path.strip("/"))
    bridge = bridge_at(tmp_path, url)
    bridge._environment[f"BRIDGE__STORAGE__{server.kind.upper()}__USERNAME"] = "limited"
    with contextlib.closing(bridge.start()):
        ids = deliver(bridge, 5)
        assert until(lambda: listed(bridge) == ids)
        server.execute(*refuse)
        later = deliver(bridge, 20)
        assert until(lambda: health(bridge)["status"] == "degraded", seconds=20)
        assert until(lambda: listed(bridge) == ids)
        server.execute(*allow)
        assert_all_is_well_and_on_record(bridge, ids + later)


class Account:
    """`w`, whose password the bridge takes for `SECRET`."""

    def __init__(self, server: OwnServer, database: str) -> None:
        self._server, self._database = server, database
        self._is_mysql = server.kind == "mysql"
        self._name = "w@'127.0.0.1'" if self._is_mysql else "w"
        section = f"BRIDGE__STORAGE__{server.kind.upper()}__"
        self.environment = {f"{section}USERNAME": "w", f"{section}PASSWORD": SECRET}
        self.refusal = "Access denied for user 'w'" if self._is_mysql else "password authentication failed for user"

    def make(self) -> None:
        grant = f"GRANT ALL ON {self._database}.*" if self._is_mysql else "GRANT ALL ON SCHEMA public"
        self._server.execute(f"CREATE USER {self._name}", f"{grant} TO {self._name}", database=self._database)

    def set_password(self, password: str) -> None:
        how = "IDENTIFIED BY" if self._is_mysql else "PASSWORD"
        self._server.execute(f"ALTER USER {self._name} {how} '{password}'")

    def drop(self) -> None:
        owned = [] if self._is_mysql else ["DROP OWNED BY w"]
        self._server.execute(*owned, f"DROP USER {self._name}", database=self._database)


@pytest.fixture
def account(server: OwnServer, url: str) -> Iterator[Account]:
    made = Account(server, urlsplit(url).path.strip("/"))
    made.make()
    yield made
    made.drop()


def test_a_password_that_is_changed(server: OwnServer, url: str, account: Account, tmp_path: Path) -> None:
    account.set_password(SECRET)
    bridge = bridge_at(tmp_path, url)
    bridge._environment |= account.environment
    with contextlib.closing(bridge.start()):
        ids = deliver(bridge, 5)
        assert until(lambda: listed(bridge) == ids)
        account.set_password("another")
        server.kill()  # connections that are open know no password any more
        server.start()
        ids += deliver(bridge, 20)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: account.refusal in bridge.log)
        assert SECRET not in bridge.log
        account.set_password(SECRET)
        assert_all_is_well_and_on_record(bridge, ids)


def test_a_password_that_is_wrong_from_the_start(url: str, account: Account, tmp_path: Path) -> None:
    """The bridge stays up and keeps what comes; once the password is right it is on record."""
    account.set_password("another")
    bridge = bridge_at(tmp_path, url)
    bridge._environment |= account.environment
    with contextlib.closing(bridge.start()):
        ids = deliver(bridge, 5)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: account.refusal in bridge.log)
        assert SECRET not in bridge.log
        account.set_password(SECRET)
        assert_all_is_well_and_on_record(bridge, ids)
