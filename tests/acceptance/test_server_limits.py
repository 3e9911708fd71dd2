"""The server against senders that are broken, slow, greedy or hostile; real sockets, a real process."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge_app.server import ServerBindError, bind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from bridge_app.server import ServerSettings, serve

stopping = asyncio.Event()
seen = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    seen.append(scope["path"])
    if scope["path"] == "/early":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await asyncio.sleep(float(scope["query_string"] or b"0"))
        await send({"type": "http.response.body", "body": b"early"})
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    if scope["path"] == "/sleep":
        print("sleeping", flush=True)
        await asyncio.sleep(float(scope["query_string"]))
    if scope["path"] == "/until-stop":
        print("sleeping", flush=True)
        await stopping.wait()
    answer = scope["path"].encode() + b" " + str(len(body)).encode()
    if scope["path"] == "/seen":
        answer = " ".join(seen).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})

def on_stop():
    print("on stop", flush=True)
    stopping.set()

settings = ServerSettings(port=0, max_header_bytes=16384, max_headers=50, header_timeout_seconds=0.5,
                          body_timeout_seconds=0.5, keep_alive_seconds=0.7, max_connections=20,
                          shutdown_grace_seconds=float(sys.argv[1]))
serve(app, settings, on_stop=on_stop, on_bound=lambda host, port: print(port, flush=True))
"""


class Running:
    """A server process and a way to talk to it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def exchange(self, data: bytes) -> bytes:
        """Send, then read until the server closes."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return read_all(connection)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    assert b"server:" not in head.lower()
    return int(head.split()[1]), json.loads(body)["type"]


@contextlib.contextmanager
def started(grace: float) -> Iterator[Running]:
    command = [sys.executable, "-c", PROGRAM, str(grace)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = Running(process, int(process.stdout.readline()))
            server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            yield server
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with started(5) as running:
        yield running


@pytest.fixture
def stoppable() -> Iterator[Running]:
    with started(1.5) as running:
        yield running


def test_a_header_of_two_megabytes_is_431(server: Running) -> None:
    answer = server.exchange(b"GET / HTTP/1.1\r\nx: " + b"a" * 2_000_000 + b"\r\n\r\n")
    assert problem(answer) == (431, "/problems/headers-too-large")


def test_five_thousand_headers_are_431(server: Running) -> None:
    answer = server.exchange(b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: 1\r\n" % n for n in range(5000)) + b"\r\n")
    assert problem(answer) == (431, "/problems/headers-too-large")


def test_a_header_that_fits_one_segment_is_weighed_too(server: Running) -> None:
    answer = server.exchange(b"GET / HTTP/1.1\r\nx: " + b"a" * 16_400 + b"\r\n\r\n")
    assert problem(answer) == (431, "/problems/headers-too-large")


def test_a_long_request_line_is_414(server: Running) -> None:
    answer = server.exchange(b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\n\r\n")
    assert problem(answer) == (414, "/problems/uri-too-long")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET http:// HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
     b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_400(server: Running, garbage: bytes) -> None:
    assert problem(server.exchange(garbage)) == (400, "/problems/bad-request")


def test_a_sender_of_slow_headers_is_dropped(server: Running) -> None:
    """One byte every 50 ms does not extend the deadline."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.settimeout(0.05)
        answer = b""
        for byte in b"GET / HTTP/1.1\r\nx: " + b"a" * 60:
            with contextlib.suppress(TimeoutError):
                connection.sendall(bytes([byte]))
                answer = connection.recv(65536)
                break
        assert problem(answer) == (408, "/problems/request-timeout")
    assert 0.4 < time.monotonic() - began < 2


def test_a_silent_connection_is_closed(server: Running) -> None:
    assert server.exchange(b"") == b""


@pytest.mark.parametrize("framing", [b"content-length: 10\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n5\r\nab"])
def test_a_stalled_body_is_408(server: Running, framing: bytes) -> None:
    began = time.monotonic()
    assert problem(server.exchange(b"POST / HTTP/1.1\r\n" + framing)) == (408, "/problems/request-timeout")
    assert time.monotonic() - began < 3


def test_a_body_that_keeps_coming_is_read_whole(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.15)
            connection.sendall(b"a")
        assert read_all(connection).endswith(b"\r\n\r\n/ 6")


@pytest.mark.parametrize("asked", [b"", b"connection: keep-alive\r\n", b"connection: close\r\n"])
@pytest.mark.parametrize(
    "framing",
    [b"content-length: 10\r\n\r\n", b"content-length: 10\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n5\r\nab",
     b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n", b"content-length: 9000000\r\n\r\n" + b"a" * 8_000_000],
)  # fmt: skip
def test_an_answer_before_the_body_is_whole_says_that_the_connection_ends(
    server: Running, framing: bytes, asked: bytes
) -> None:
    """And it arrives, though the sender still pushes."""
    answer = server.exchange(b"POST /early HTTP/1.1\r\n" + asked + framing)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert head.count(b"connection: close") == 1
    assert body == b"early"


def test_what_comes_after_an_answer_that_said_so_is_neither_run_nor_answered(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /early?0.3 HTTP/1.1\r\ncontent-length: 2\r\n\r\na")
        answer = connection.recv(65536)
        assert b"connection: close" in answer
        connection.sendall(b"bGET /next HTTP/1.1\r\n\r\n")
        assert (answer + read_all(connection)).endswith(b"\r\n\r\nearly")
    assert b"/next" not in server.exchange(b"GET /seen HTTP/1.1\r\nconnection: close\r\n\r\n")


def test_a_body_that_comes_after_its_head_leaves_the_connection_open(server: Running) -> None:
    with server.connect() as connection:
        for path in (b"/one", b"/two"):
            connection.sendall(b"POST " + path + b" HTTP/1.1\r\ncontent-length: 2\r\n\r\n")
            time.sleep(0.1)
            connection.sendall(b"ab")
            answer = b""
            while not answer.endswith(path + b" 2"):
                answer += connection.recv(65536)
            assert b"connection:" not in answer


def test_requests_may_share_a_connection_and_be_pipelined(server: Running) -> None:
    one = b"POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nab"
    answer = server.exchange(one * 3 + b"GET /last HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b"/a 2") == 3
    assert answer.endswith(b"/last 0")


def test_garbage_after_a_request_in_flight_does_not_spoil_its_answer(server: Running) -> None:
    answer = server.exchange(b"GET /sleep?0.2 HTTP/1.1\r\n\r\nGARBAGE\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"/sleep 0")


def test_an_upgrade_that_is_not_offered_is_answered_as_http(server: Running) -> None:
    answer = server.exchange(b"GET /u HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_an_idle_connection_is_closed_after_its_answer(server: Running) -> None:
    began = time.monotonic()
    assert server.exchange(b"GET /k HTTP/1.1\r\n\r\n").endswith(b"/k 0")
    assert 0.5 < time.monotonic() - began < 2


def test_connections_beyond_the_limit_are_503(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(20)]
        answer = server.exchange(b"GET / HTTP/1.1\r\n\r\n")
        assert problem(answer) == (503, "/problems/unavailable")
        assert b"retry-after: 1" in answer
        for connection in held:
            read_all(connection)
    assert b"200 OK" in server.exchange(b"GET / HTTP/1.1\r\n\r\n")


def test_sigterm_lets_a_request_in_flight_finish(stoppable: Running) -> None:
    with stoppable.connect() as connection:
        connection.sendall(b"GET /sleep?0.5 HTTP/1.1\r\n\r\n")
        assert stoppable.line() == "sleeping"
        stoppable.process.send_signal(signal.SIGTERM)
        assert read_all(connection).endswith(b"/sleep 0")
    assert [stoppable.line(), stoppable.line()] == ["on stop", "lifespan shutdown"]
    assert stoppable.process.wait(5) == 0


def test_sigterm_ends_an_open_stream_through_the_stop_callback(stoppable: Running) -> None:
    began = time.monotonic()
    with stoppable.connect() as connection:
        connection.sendall(b"GET /until-stop HTTP/1.1\r\n\r\n")
        assert stoppable.line() == "sleeping"
        stoppable.process.send_signal(signal.SIGTERM)
        assert read_all(connection).endswith(b"/until-stop 0")
    assert stoppable.process.wait(5) == 0
    assert time.monotonic() - began < 1.4


@pytest.mark.parametrize(("signals", "at_most"), [(1, 3.0), (2, 1.2)])
def test_a_request_beyond_the_grace_gets_503_and_the_lifespan_still_ends(
    stoppable: Running, signals: int, at_most: float
) -> None:
    with stoppable.connect() as connection:
        connection.sendall(b"GET /sleep?60 HTTP/1.1\r\n\r\n")
        assert stoppable.line() == "sleeping"
        began = time.monotonic()
        stoppable.process.send_signal(signal.SIGINT)
        assert stoppable.line() == "on stop"
        if signals == 2:
            stoppable.process.send_signal(signal.SIGTERM)
        assert problem(read_all(connection)) == (503, "/problems/unavailable")
    assert stoppable.line() == "lifespan shutdown"
    assert stoppable.process.wait(5) == 0
    assert time.monotonic() - began < at_most


def test_an_address_in_use_is_a_clear_error(server: Running) -> None:
    with pytest.raises(ServerBindError, match=f"Cannot listen on 127.0.0.1:{server.port} .*server.port"):
        bind("127.0.0.1", port=server.port)
