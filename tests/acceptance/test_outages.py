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
    skipped_where_it_cannot_be,
)

from benchmarks.faulty_proxy import FaultyProxy
from benchmarks.outages import Account, cut_in, missing_table, slow
from benchmarks.own_servers import OwnMariaDB, OwnPostgreSQL, OwnServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_names = (f"history_{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=[OwnPostgreSQL, OwnMariaDB], ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with skipped_where_it_cannot_be(), request.param.running() as own:
        yield own


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    with server.database(next(_names)) as made:
        yield made


@pytest.fixture
def proxy(server: OwnServer) -> Iterator[FaultyProxy]:
    with contextlib.closing(FaultyProxy(server.port)) as between:
        yield between


@pytest.fixture
def account(server: OwnServer, url: str) -> Iterator[Account]:
    made = Account(server, urlsplit(url).path.strip("/"))
    yield made
    made.drop()


def bridge_of(account: Account, folder: Path, url: str) -> BridgeProcess:
    parts = urlsplit(url)
    return bridge_at(
        folder, parts._replace(netloc=f"{account.user}:{account.password}@127.0.0.1:{parts.port}").geturl()
    )


@pytest.fixture
def bridge(tmp_path: Path, url: str) -> Iterator[BridgeProcess]:
    with contextlib.closing(bridge_at(tmp_path, url)) as made:
        yield made.start()


@pytest.fixture
def behind_proxy(tmp_path: Path, url: str, proxy: FaultyProxy) -> Iterator[BridgeProcess]:
    with contextlib.closing(bridge_at(tmp_path, url, port=proxy.port)) as made:
        yield made.start()


def test_a_stopped_server(server: OwnServer, bridge: BridgeProcess) -> None:
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    with server.stopped():
        ids += deliver(bridge, 20)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: health(bridge)["status"] == "degraded")
        assert health(bridge)["spool"]["frames"] == 20
    ids += deliver(bridge, 5)
    assert_all_is_well_and_on_record(bridge, ids)


def test_a_frozen_server(server: OwnServer, bridge: BridgeProcess) -> None:
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    with server.frozen():
        ids += deliver(bridge, 20)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: health(bridge)["status"] == "degraded", seconds=20)
    ids += deliver(bridge, 5)
    assert_all_is_well_and_on_record(bridge, ids)


def test_a_server_that_is_frozen_when_the_bridge_starts(server: OwnServer, url: str, tmp_path: Path) -> None:
    with contextlib.closing(bridge_at(tmp_path, url)) as bridge:
        with server.frozen():
            bridge.start()
            ids = deliver(bridge, 5)
            assert_reads_say_that_it_is_away(bridge)
        assert_all_is_well_and_on_record(bridge, ids)


def test_a_server_that_takes_two_seconds_for_each_answer(behind_proxy: BridgeProcess, proxy: FaultyProxy) -> None:
    ids = deliver(behind_proxy, 5)
    assert until(lambda: listed(behind_proxy) == ids)
    with slow(proxy), httpx.Client(base_url=behind_proxy.url, timeout=3.0) as client:
        ids += deliver(behind_proxy, 20)
        assert client.get("/api/v1/executions").status_code == 503
    assert_all_is_well_and_on_record(behind_proxy, ids)


@pytest.mark.parametrize("statement", ["COMMIT", "INSERT"])
def test_a_connection_that_is_cut(behind_proxy: BridgeProcess, proxy: FaultyProxy, statement: str) -> None:
    """In COMMIT nobody can know whether it happened: it is done again, and nothing is doubled."""
    ids = deliver(behind_proxy, 5)
    assert until(lambda: listed(behind_proxy) == ids)
    with cut_in(proxy, statement):
        ids += deliver(behind_proxy, 20)
        assert until(lambda: proxy.cuts >= 2, seconds=20)
    assert_all_is_well_and_on_record(behind_proxy, ids)


def test_a_table_that_is_missing(server: OwnServer, url: str, bridge: BridgeProcess) -> None:
    ids = deliver(bridge, 5)
    assert until(lambda: listed(bridge) == ids)
    with missing_table(server, urlsplit(url).path.strip("/")):
        ids += deliver(bridge, 20)
        assert until(lambda: health(bridge)["status"] == "degraded")
        assert until(lambda: bridge.client.get("/api/v1/executions").status_code == 503)
    assert_all_is_well_and_on_record(bridge, ids)


def test_a_database_that_takes_no_writes(url: str, account: Account, tmp_path: Path) -> None:
    """Reads go on; what came meanwhile is written once it may be."""
    with contextlib.closing(bridge_of(account, tmp_path, url).start()) as bridge:
        ids = deliver(bridge, 5)
        assert until(lambda: listed(bridge) == ids)
        with account.read_only():
            later = deliver(bridge, 20)
            assert until(lambda: health(bridge)["status"] == "degraded", seconds=20)
            assert until(lambda: listed(bridge) == ids)
        assert_all_is_well_and_on_record(bridge, ids + later)


def test_a_password_that_is_changed(url: str, account: Account, tmp_path: Path) -> None:
    with contextlib.closing(bridge_of(account, tmp_path, url).start()) as bridge:
        ids = deliver(bridge, 5)
        assert until(lambda: listed(bridge) == ids)
        with account.wrong_password():
            ids += deliver(bridge, 20)
            assert_reads_say_that_it_is_away(bridge)
            assert until(lambda: account.refusal in bridge.log)
            assert account.password not in bridge.log
        assert_all_is_well_and_on_record(bridge, ids)


def test_a_password_that_is_wrong_from_the_start(url: str, account: Account, tmp_path: Path) -> None:
    """The bridge stays up and keeps what comes; once the password is right it is on record."""
    with contextlib.closing(bridge_of(account, tmp_path, url)) as bridge:
        with account.wrong_password():
            bridge.start()
            ids = deliver(bridge, 5)
            assert_reads_say_that_it_is_away(bridge)
            assert until(lambda: account.refusal in bridge.log)
            assert account.password not in bridge.log
        assert_all_is_well_and_on_record(bridge, ids)
