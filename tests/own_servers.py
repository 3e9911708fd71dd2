"""Database servers of the tests' own, to be stopped and frozen; and a proxy that delays and cuts connections.

They keep their data in a temporary folder and listen on loopback. Where their programs are missing, tests are skipped
with one loud line; under CI=true that is a failure.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pymysql
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Certificate:
    """Of a server that is called `localhost` and nothing else, and who signed it."""

    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def made(cls, folder: Path) -> Certificate:
        """Signed by an authority of its own, which nobody else trusts."""
        folder.mkdir()
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost")
        authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 insists on it
        usage = ("-addext", "basicConstraints=critical,CA:FALSE")
        for command in (
            ("req", "-x509", *kind, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=an authority", *authority),
            ("req", "-x509", *kind, "-keyout", "key", "-out", "crt", "-subj", "/CN=localhost", *signing, *usage),
        ):
            subprocess.run(["/usr/bin/env", "openssl", *command], cwd=folder, check=True, capture_output=True)
        return cls(folder / "crt", folder / "key", folder / "ca.crt")


class OwnServer:
    """One server process with an empty database `history`; use a subclass."""

    kind = ""
    account = ""
    """Whom it runs as where the tests run as root, which these programs refuse to be."""

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None) -> None:
        """`disk_bytes`: on a disk of its own, of that size. `tls`: nobody gets in without TLS."""
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="own-server-"))
        self.tls = tls
        self._is_mounted = False
        if disk_bytes:
            self._mount(disk_bytes)
        self._process: subprocess.Popen[bytes] | None = None
        self._as = {"user": self.account, "group": self.account, "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            entry = pwd.getpwnam(self.account)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        if tls:
            for source, name, mode in ((tls.certificate, "server.crt", 0o644), (tls.key, "server.key", 0o600)):
                shutil.copy(source, self.folder / name)
                (self.folder / name).chmod(mode)
                shutil.chown(self.folder / name, *((self.account, self.account) if self._as else (os.geteuid(),)))

    @property
    def address(self) -> str:
        """The URL of the server, to no database."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def execute(self, *statements: str, database: str = "") -> None:
        """As the administrator, each by itself."""
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder, **self._as)  # type: ignore[call-overload]
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def fill_disk(self) -> None:
        """Until nothing more fits."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"x" * size) == size:
                        pass

    def free_disk(self) -> None:
        """Undo that; where the server did not survive it, somebody starts it again."""
        (self.folder / "ballast").unlink()
        if not self.is_running or not self._answers():
            self.kill()
            self.start()

    def kill(self) -> None:
        """SIGKILL for it and its children."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(30)

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self._processes():
            process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        if self._is_mounted:
            subprocess.run(["/bin/umount", "--lazy", str(self.folder)], check=True, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mount(self, size: int) -> None:
        mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.folder)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.folder)
            pytest.skip(f"NO SMALL DISK CAN BE MOUNTED HERE: {error}")
        self._is_mounted = True

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (psycopg.OperationalError, pymysql.err.OperationalError):
            return False
        return True

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """An empty database of this name, while the block lasts; its URL."""
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{self.address}/{name}"
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name}")

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=120, **self._as)  # type: ignore[call-overload]


class OwnPostgreSQL(OwnServer):
    kind = "postgresql"
    account = "postgres"

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None) -> None:
        super().__init__(disk_bytes=disk_bytes, tls=tls)
        self._bin = _folder_of("postgres", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
        self._data = self.folder / "data"
        self._run(str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")
        everybody = "hostssl" if tls else "host"
        (self._data / "pg_hba.conf").write_text(
            f"{everybody} all w 127.0.0.1/32 scram-sha-256\n{everybody} all all 127.0.0.1/32 trust\n"
        )

    @property
    def address(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        if self.tls:
            files = (f"ssl_cert_file={self.folder}/server.crt", f"ssl_key_file={self.folder}/server.key")
            options += ["-c", "ssl=on", *(word for file in files for word in ("-c", file))]
        return (
            str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", str(self.folder), *options,
        )  # fmt: skip

    def execute(self, *statements: str, database: str = "postgres") -> None:
        with psycopg.connect(f"{self.address}/{database}", autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class OwnMariaDB(OwnServer):
    kind = "mysql"
    account = "mysql"

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None) -> None:
        super().__init__(disk_bytes=disk_bytes, tls=tls)
        self._daemon = _folder_of("mariadbd", Path("/usr/sbin")) / "mariadbd"
        self._data = self.folder / "data"
        install = _folder_of("mariadb-install-db", Path("/usr/bin")) / "mariadb-install-db"
        self._run(
            str(install), "--no-defaults", f"--datadir={self._data}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )  # fmt: skip

    @property
    def address(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        files = (f"--ssl-cert={self.folder}/server.crt", f"--ssl-key={self.folder}/server.key")
        options = ("--require-secure-transport=ON", *files) if self.tls else ()
        return (
            str(self._daemon), "--no-defaults", f"--datadir={self._data}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid",
            "--innodb-flush-log-at-trx-commit=2", *options,
        )  # fmt: skip

    def execute(self, *statements: str, database: str = "") -> None:
        connection: pymysql.Connection[Any] = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database or None, autocommit=True, connect_timeout=5
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _folder_of(program: str, *folders: Path) -> Path:
    for folder in folders:
        if (folder / program).exists():
            return folder
    if os.environ.get("CI") == "true":
        raise AssertionError(f"no {program} in {[str(folder) for folder in folders]}")
    pytest.skip(f"NO {program.upper()} PROGRAM on this machine")


class Proxy:
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
