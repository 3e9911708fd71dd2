"""Database servers of our own, to be stopped and frozen.

They keep their data in a temporary folder and listen on loopback. Where their programs are missing, making one raises
NotOnThisMachine.
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
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil  # type: ignore[import-untyped]
import psycopg
import pymysql

from benchmarks.small_disk import NotOnThisMachine, SmallDisk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def free_port() -> int:
    """Of loopback."""
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


class OwnServer(ABC):
    """One server process with an empty database `history`; use a subclass."""

    kind = ""
    account = ""
    """Whom it runs as where the tests run as root, which these programs refuse to be."""

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None, is_durable: bool = False) -> None:
        """`disk_bytes`: on a disk of its own, of that size. `tls`: nobody gets in without. `is_durable`: it syncs."""
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="own-server-"))
        self.tls = tls
        self.is_durable = is_durable
        self._disk = SmallDisk(self.folder, size_bytes=disk_bytes) if disk_bytes else None
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

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, *, disk_bytes: int = 0, tls: Certificate | None = None, is_durable: bool = False
    ) -> Iterator[Self]:
        """One that is started, gone afterwards."""
        own = cls(disk_bytes=disk_bytes, tls=tls, is_durable=is_durable)
        try:
            own.start()
            yield own
        finally:
            own.close()

    @property
    @abstractmethod
    def address(self) -> str:
        """The URL of the server, to no database."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts it."""

    @abstractmethod
    def execute(self, *statements: str, database: str = "") -> None:
        """As the administrator, each by itself."""

    def start(self) -> None:
        """Wait until it answers; raises AssertionError with the end of its log."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder, **self._as)  # type: ignore[call-overload]
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Its process, whether it answers or not."""
        return self._process is not None and self._process.poll() is None

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """While the block lasts, on a disk of its own; where the server does not survive it, it is started again."""
        assert self._disk
        with self._disk.full():
            yield
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

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Killed, until the block ends."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP until the block ends: its connections stay open and nobody answers."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in self._processes():
                process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self._disk:
            self._disk.close()
        shutil.rmtree(self.folder, ignore_errors=True)

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
        """Remove a database, whoever uses it."""
        self.execute(f"DROP DATABASE {name}")

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=120, **self._as)  # type: ignore[call-overload]


class OwnPostgreSQL(OwnServer):
    """Trusts everybody but the account `w`, which needs its password."""

    kind = "postgresql"
    account = "postgres"

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None, is_durable: bool = False) -> None:
        super().__init__(disk_bytes=disk_bytes, tls=tls, is_durable=is_durable)
        self._bin = _folder_of("postgres", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
        self._data = self.folder / "data"
        self._run(str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")
        everybody = "hostssl" if tls else "host"
        (self._data / "pg_hba.conf").write_text(
            f"{everybody} all w 127.0.0.1/32 scram-sha-256\n{everybody} all all 127.0.0.1/32 trust\n"
        )

    @property
    def address(self) -> str:
        """See `OwnServer`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """See `OwnServer`."""
        options = ["-c", f"fsync={'on' if self.is_durable else 'off'}", "-c", "listen_addresses=127.0.0.1"]
        if self.tls:
            files = (f"ssl_cert_file={self.folder}/server.crt", f"ssl_key_file={self.folder}/server.key")
            options += ["-c", "ssl=on", *(word for file in files for word in ("-c", file))]
        return (
            str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", str(self.folder), *options,
        )  # fmt: skip

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """See `OwnServer`."""
        with psycopg.connect(f"{self.address}/{database}", autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def drop(self, name: str) -> None:
        """See `OwnServer`."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class OwnMariaDB(OwnServer):
    """Its root has no password."""

    kind = "mysql"
    account = "mysql"

    def __init__(self, *, disk_bytes: int = 0, tls: Certificate | None = None, is_durable: bool = False) -> None:
        super().__init__(disk_bytes=disk_bytes, tls=tls, is_durable=is_durable)
        self._daemon = _folder_of("mariadbd", Path("/usr/sbin")) / "mariadbd"
        self._data = self.folder / "data"
        install = _folder_of("mariadb-install-db", Path("/usr/bin")) / "mariadb-install-db"
        self._run(
            str(install), "--no-defaults", f"--datadir={self._data}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )  # fmt: skip

    @property
    def address(self) -> str:
        """See `OwnServer`."""
        return f"mysql://root@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """See `OwnServer`."""
        files = (f"--ssl-cert={self.folder}/server.crt", f"--ssl-key={self.folder}/server.key")
        options = ("--require-secure-transport=ON", *files) if self.tls else ()
        return (
            str(self._daemon), "--no-defaults", f"--datadir={self._data}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid",
            f"--innodb-flush-log-at-trx-commit={1 if self.is_durable else 2}", *options,
        )  # fmt: skip

    def execute(self, *statements: str, database: str = "") -> None:
        """See `OwnServer`."""
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
    raise NotOnThisMachine(f"there is no {program} in {', '.join(map(str, folders)) or 'any folder that is known'}")
