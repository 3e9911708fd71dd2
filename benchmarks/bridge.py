"""A bridge process to measure, in a folder of its own, and the payload that is sent to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGIN = "def handle(event):\n    return {'got': event.data['number']}\n"
BODY = json.dumps(
    {
        "action": "opened",
        "number": 1347,
        "pull_request": {"title": "Spelling error in the README file", "body": "x" * 600, "user": {"login": "ada"}},
        "repository": {"id": 35129377, "full_name": "ada/engine", "private": False, "topics": ["analytical"] * 5},
        "sender": {"login": "ada", "id": 1, "type": "User"},
    }
).encode()
"""About 1 kB, of a pull request's shape."""


@contextmanager
def bridge(folder: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """Start `webhook-bridge serve` with these BRIDGE__ settings; gives its port and process id, stops it at the end."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "plugins" / "bench.py").write_text(PLUGIN)
    log = folder / "bridge.log"
    environment = {f"BRIDGE__{name}": value for name, value in settings.items()}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge_app", "serve"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "BRIDGE__SERVER__PORT": "0",
                **environment,
            },
            stdout=out,
            stderr=out,
        )
    try:
        yield _port(process, log), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def storage_settings(url: str) -> dict[str, str]:
    """What has a bridge keep its history there, for ever."""
    parts = urlsplit(url)
    section = f"STORAGE__{parts.scheme.upper()}__"
    values = (
        {"DATABASE_PATH": parts.path.removeprefix("/")}
        if parts.scheme == "sqlite"
        else {
            "HOST": parts.hostname or "",
            "PORT": str(parts.port),
            "DATABASE": parts.path.strip("/"),
            "USERNAME": parts.username or "",
            "PASSWORD": parts.password or "",
        }
    )
    named = {section + name: value for name, value in (values | {"RETENTION_DAYS": "36500"}).items()}
    return {"STORAGE__TYPE": parts.scheme, **named}


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"Webhook bridge on http://[^:]+:(\d+)", log.read_text())
        if found:
            time.sleep(1.0)  # plugins are checked, the spare worker starts
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"the bridge did not start:\n{log.read_text()}")
