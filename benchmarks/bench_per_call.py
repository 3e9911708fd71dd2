"""A plugin run and recorded, next to Debian's `webhook` (adnanh) that starts `python3` per call and records nothing.

    python -m benchmarks.bench_per_call         (needs: apt-get install webhook)

Both parse the same JSON and answer with the same JSON, 16 connections, loaded in turn. Ours runs the plugin in a warm
isolated worker, and each answer waits until its record is on disk.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bridge import BODY, bridge
from benchmarks.load import drive, post

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, SECONDS = 5, 3.0
SCRIPT = "import json, sys\nprint(json.dumps({'got': json.loads(sys.argv[1])['number']}))\n"


@contextlib.contextmanager
def debian_webhook(folder: Path) -> Iterator[int]:
    """Start it with one hook; gives its port."""
    folder.mkdir()
    (folder / "handle.py").write_text(SCRIPT)
    hook = {
        "id": "bench",
        "execute-command": sys.executable,
        "pass-arguments-to-command": [
            {"source": "string", "name": str(folder / "handle.py")},
            {"source": "entire-payload"},
        ],
        "include-command-output-in-response": True,
    }
    (folder / "hooks.json").write_text(json.dumps([hook]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["webhook", "-hooks", str(folder / "hooks.json"), "-ip", "127.0.0.1", "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError("webhook does not listen")


def main() -> None:
    """Print the ratio."""
    if shutil.which("webhook") is None:
        print("per call  not measured: this needs Debian's `webhook`: apt-get install webhook")
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        with bridge(folder / "ours") as (ours, _), debian_webhook(folder / "theirs") as theirs:
            requests = {ours: post("/api/v1/webhook/bench", BODY), theirs: post("/hooks/bench", BODY)}
            for port, request in requests.items():
                drive(port, request, seconds=1.0)
            pairs = []
            for _ in range(ROUNDS):
                loads = [drive(port, request, seconds=SECONDS) for port, request in requests.items()]
                assert all(set(load.statuses) == {200} for load in loads), [load.statuses for load in loads]
                pairs.append((loads[0].rate, loads[1].rate))
    ours_rate, theirs_rate = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"per call  requests/s ours {ours_rate:.0f}, webhook + python3 {theirs_rate:.0f}", end=": ")
    print(f"ratio {ratio:.1f} (must 10, aim 25)")


if __name__ == "__main__":
    main()
