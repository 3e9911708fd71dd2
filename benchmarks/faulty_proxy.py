"""A proxy in front of a database server, which delays answers and cuts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultyProxy:
    """Passes bytes between clients and a server, as faulty as it is told to be."""

    def __init__(self, port: int) -> None:
        self.delay_seconds = 0.0
        """How long each answer of the server is kept back."""
        self.cut_at: bytes = b""
        """What a client sends with these bytes reaches the server; then the connection is cut, without an answer."""
        self.cuts = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def close(self) -> None:
        """Cut everything."""
        _shut(*self._sockets)  # the listener too: closing alone does not end an `accept` under way
        for thread in self._threads:
            thread.join(10)
        for connection in self._sockets:
            connection.close()

    def _begin(self, act: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=act, args=arguments, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                self._begin(self._forward, client, server)
                self._begin(self._back, server, client)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.cut_at and self.cut_at in data:
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)  # before the answer; and then the server still gets its order
                    server.sendall(data)
                    time.sleep(0.2)
                    break
                server.sendall(data)
        _shut(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                client.sendall(data)
        _shut(client, server)


def _shut(*connections: socket.socket) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
