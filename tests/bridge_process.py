"""A real bridge in a process of its own, for tests that look from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from pathlib import Path


class BridgeProcess:
    """`webhook-bridge serve` on a free port, in a folder with its own data and plugins."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "plugins").mkdir(exist_ok=True)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=20)

    def plugin(self, name: str, source: str) -> None:
        """Drop a plugin into the folder."""
        (self.folder / "plugins" / f"{name}.py").write_text(source)

    def start(self) -> BridgeProcess:
        """Start, and wait until it answers."""
        log = self.log_path.open("ab")
        size = self.log_path.stat().st_size
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from bridge_app.cli import main; main()", "serve"],
            cwd=self.folder,
            env={**os.environ, "BRIDGE__SERVER__PORT": "0", "PYTHONWARNINGS": "ignore", **self._environment},
            stdout=log,
            stderr=log,
        )
        log.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            text = self.log_path.read_bytes()[size:].decode()
            found = re.search(r"Webhook bridge on (http://\S+)", text)
            if found and self._answers(found[1]):
                self.client.close()
                self.client = httpx.Client(base_url=found[1], timeout=20)
                return self
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the bridge did not start:\n{self.log}")

    @property
    def log_path(self) -> Path:
        return self.folder / "bridge.log"

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.log_path.read_text()

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def kill(self) -> None:
        """SIGKILL, as the power cut of a process."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def close(self) -> None:
        """End it whatever it takes."""
        self.client.close()
        if self._process and self._process.poll() is None:
            self.stop()

    def post(self, plugin: str, body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1/webhook/{plugin}", json=body)

    def get(self, path: str, **params: Any) -> Any:
        """A 200 answer's JSON."""
        response = self.client.get(f"/api/v1{path}", params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def _answers(self, url: str) -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
