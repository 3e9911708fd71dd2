"""A real bridge in a process of its own, for tests that look from outside."""

from __future__ import annotations

import atexit
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class BridgeProcess:
    """`webhook-bridge serve` on a free port, in a folder with its own data and plugins."""

    log_name = "bridge.log"
    program = "from bridge_app.cli import main; main()"
    """What the interpreter runs; a test may put a fault of the machine in front of it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "plugins").mkdir(exist_ok=True)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0
        self.client = httpx.Client(timeout=20)

    def plugin(self, name: str, source: str) -> None:
        """Drop a plugin into the folder."""
        (self.folder / "plugins" / f"{name}.py").write_text(source)

    def start(self) -> BridgeProcess:
        """Start, and wait until it answers."""
        self.spawn()
        return self.wait_until_ready()

    def spawn(self) -> BridgeProcess:
        """Start, and wait for nothing."""
        with self.log_path.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.program, "serve"],
                cwd=self.folder,
                env={
                    **os.environ,
                    **_bytecode_cache(),
                    "BRIDGE__SERVER__PORT": "0",
                    "PYTHONWARNINGS": "ignore",
                    **self._environment,
                },
                stdout=log,
                stderr=log,
            )
        return self

    def wait_until_ready(self) -> BridgeProcess:
        """Return when it answers; the client then knows its address."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = re.search(r"Webhook bridge on (http://\S+)", self.log_of_this_start)
            if found and self._answers(found[1]):
                self.client.base_url = httpx.URL(found[1])
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the bridge did not start:\n{self.log}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The latest process, running or ended."""
        assert self._process
        return self._process

    @property
    def log_path(self) -> Path:
        return self.folder / self.log_name

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.log_path.read_text()

    @property
    def log_of_this_start(self) -> str:
        """What the latest process has logged."""
        return self.log_path.read_bytes()[self._log_begins :].decode()

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def descendants(self) -> list[psutil.Process]:
        """Its live child processes and theirs: the plugin workers."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def kill(self) -> None:
        """SIGKILL, as the power cut of a process."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """End it whatever it takes."""
        self.client.close()
        if self._process and self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()

    def post(self, plugin: str, body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1/webhook/{plugin}", json=body)

    def get(self, path: str, **params: Any) -> Any:
        """A 200 answer's JSON."""
        response = self.client.get(f"/api/v1{path}", params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def _answers(self, url: str) -> bool:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)  # httpx takes 50 ms for this
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that waits to be reaped does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], *, seconds: float = 10) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def _bytecode_cache() -> dict[str, str]:
    """Where Python may not write bytecode beside the sources, a place for it: a start then costs a third."""
    if not sys.dont_write_bytecode:
        return {}
    if not _cache:
        _cache.append(tempfile.mkdtemp(prefix="webhook-bridge-tests-"))
        atexit.register(shutil.rmtree, _cache[0], ignore_errors=True)
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _cache[0]}


_cache: list[str] = []
