"""A server that lets nobody in without TLS, by a certificate that not all trust; in libpq's words for both servers."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import databases
import pytest
from bridge_process import until
from outages import (
    assert_all_is_well_and_on_record,
    assert_reads_say_that_it_is_away,
    bridge_at,
    deliver,
    skipped_where_it_cannot_be,
)

from benchmarks.own_servers import Certificate, OwnMariaDB, OwnPostgreSQL, OwnServer
from bridge_app.cli.root import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME, ADDRESS = "localhost", "127.0.0.1"
"""Of the server: its certificate holds the name only."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """The server's, and one of another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    return Certificate.made(folder / "own"), Certificate.made(folder / "foreign")


@pytest.fixture(scope="module", params=[OwnPostgreSQL, OwnMariaDB], ids=lambda kind: kind.kind)
def server(request: pytest.FixtureRequest, certificates: tuple[Certificate, Certificate]) -> Iterator[OwnServer]:
    with skipped_where_it_cannot_be(), request.param.running(tls=certificates[0]) as own:
        yield own


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    with server.database("history") as made:
        yield made


def environment(url: str, mode: str, *, authority: Path | str = "", host: str = ADDRESS) -> dict[str, str]:
    section = f"BRIDGE__STORAGE__{url.partition(':')[0].upper()}__"
    return {
        **databases.settings(url),
        f"{section}HOST": host,
        f"{section}SSL_MODE": mode,
        f"{section}SSL_ROOT_CERT": str(authority),
    }


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, str]], int]:
    """A look at the store that the environment names; the exit status."""
    monkeypatch.chdir(tmp_path)

    def look(changes: dict[str, str]) -> int:
        for name, value in changes.items():
            monkeypatch.setenv(name, value)
        return run(["check-config", "--connect"])

    return look


SUITS = {
    "prefer": (ADDRESS, False),
    "require": (ADDRESS, False),
    "verify-ca": (ADDRESS, True),
    "verify-full": (NAME, True),
}
"""By which name, and whether the authority has to be named."""


@pytest.mark.parametrize("mode", SUITS)
def test_a_mode_that_suits_the_server(
    url: str,
    certificates: tuple[Certificate, Certificate],
    connect: Callable[[dict[str, str]], int],
    mode: str,
) -> None:
    host, with_authority = SUITS[mode]
    authority = certificates[0].authority if with_authority else ""
    assert connect(environment(url, mode, authority=authority, host=host)) == 0


NOT_WITHOUT = {
    "postgresql": 'no pg_hba.conf entry for host "127.0.0.1", user "postgres", database "history", no encryption',
    "mysql": "sslmode is disable: does the server demand TLS?",
}
OTHER_NAME = {
    "postgresql": 'does not match host name "127.0.0.1"',
    "mysql": "certificate is not valid for '127.0.0.1'",
}


@pytest.mark.parametrize("wrong", ["no TLS", "another authority", "another authority, and the name", "another name"])
def test_what_does_not_suit_the_server_is_named(
    url: str,
    certificates: tuple[Certificate, Certificate],
    connect: Callable[[dict[str, str]], int],
    capsys: pytest.CaptureFixture[str],
    wrong: str,
) -> None:
    kind = url.partition(":")[0]
    own, foreign = (one.authority for one in certificates)
    changes, message = {
        "no TLS": (environment(url, "disable"), NOT_WITHOUT[kind]),
        "another authority": (environment(url, "verify-ca", authority=foreign), "certificate verify failed"),
        "another authority, and the name": (
            environment(url, "verify-full", authority=foreign, host=NAME),
            "certificate verify failed",
        ),
        "another name": (environment(url, "verify-full", authority=own), OTHER_NAME[kind]),
    }[wrong]
    assert connect(changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"webhook-bridge: cannot open {kind}://")
    assert message in line


def test_a_bridge_that_does_not_trust_its_server_stays_up(
    url: str, certificates: tuple[Certificate, Certificate], tmp_path: Path
) -> None:
    """What comes meanwhile is on record once it does."""
    trusted = tmp_path / "trusted.crt"
    shutil.copy(certificates[1].authority, trusted)
    bridge = bridge_at(tmp_path, url)
    bridge._environment |= environment(url, "verify-full", authority=trusted, host=NAME)
    with contextlib.closing(bridge.start()):
        ids = deliver(bridge, 5)
        assert_reads_say_that_it_is_away(bridge)
        assert until(lambda: "certificate verify failed" in bridge.log)
        shutil.copy(certificates[0].authority, trusted)
        assert_all_is_well_and_on_record(bridge, ids + deliver(bridge, 5))
