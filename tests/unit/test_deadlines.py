"""Deadlines against real sockets whose other end says nothing."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from otel_tracker.errors import ConfigurationError
from otel_tracker.storage.deadlines import Deadlines
from otel_tracker.storage.dialects import Timeouts, dialect_from_url

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A socket whose other end is open and says nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def test_who_waits_too_long_gets_an_end(silent: socket.socket) -> None:
    with Deadlines().within("a", 0.2, descriptor=silent.fileno):
        assert silent.recv(1) == b""


def test_what_ends_in_time_is_left_alone(silent: socket.socket) -> None:
    deadlines = Deadlines()
    with deadlines.within("a", 0.1, descriptor=silent.fileno):
        pass
    silent.settimeout(0.5)
    with pytest.raises(TimeoutError):
        silent.recv(1)


def test_what_is_renewed_is_left_alone(silent: socket.socket) -> None:
    deadlines = Deadlines()
    silent.settimeout(0.1)
    with deadlines.within("a", 0.3, descriptor=silent.fileno):
        for _ in range(10):
            deadlines.renew("a", 0.3)
            with pytest.raises(TimeoutError):
                silent.recv(1)


def test_one_that_expires_harms_no_other(silent: socket.socket) -> None:
    deadlines = Deadlines()
    ours, theirs = socket.socketpair()
    with ours, theirs, deadlines.within("b", 60, descriptor=ours.fileno):
        with deadlines.within("a", 0.1, descriptor=silent.fileno):
            assert silent.recv(1) == b""
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


def test_a_socket_that_is_closed_already_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    deadlines = Deadlines()
    with deadlines.within("gone", 0.1, descriptor=ours.fileno):
        ours.close()
        threading.Event().wait(0.4)
    other, peer = socket.socketpair()
    with other, peer, deadlines.within("a", 0.1, descriptor=other.fileno):
        assert other.recv(1) == b""


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_is_never_shown_with_its_password(scheme: str) -> None:
    dialect = dialect_from_url(
        f"{scheme}://u:raven@db.example:1234/history?sslmode=require",
        max_connections=1,
        enable_wal=True,
        enable_foreign_keys=True,
        timeouts=Timeouts(),
        auto_migrate=True,
    )
    assert dialect.location == f"{scheme}://u@db.example:1234/history"


def test_an_unknown_tls_mode_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="known are disable, prefer, require, verify-ca, verify-full"):
        dialect_from_url(
            "mysql://u@h/d?sslmode=maybe",
            max_connections=1,
            enable_wal=True,
            enable_foreign_keys=True,
            timeouts=Timeouts(),
            auto_migrate=True,
        )
