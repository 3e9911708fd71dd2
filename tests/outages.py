"""A bridge whose history is on a server that fails, as seen from outside: what it answers, what it has on record."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import databases
import httpx
import pytest
from bridge_process import BridgeProcess, until

from benchmarks.small_disk import NeedsRoot, NotOnThisMachine, SmallDisk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT = {"disk", "process"}  # disk, but for a machine so busy that a sync takes 50 ms


@contextlib.contextmanager
def skipped_where_it_cannot_be() -> Iterator[None]:
    """With one loud line; under CI=true a missing program is a failure."""
    try:
        yield
    except NotOnThisMachine as missing:
        if os.environ.get("CI") == "true" and not isinstance(missing, NeedsRoot):
            raise
        pytest.skip(f"NOT ON THIS MACHINE: {missing}")


@contextlib.contextmanager
def small_disk_in(folder: Path) -> Iterator[SmallDisk]:
    """Of 4 MiB, in a folder of its own below that."""
    place = folder / "disk"
    place.mkdir()
    with skipped_where_it_cannot_be(), contextlib.closing(SmallDisk(place, size_bytes=4 << 20)) as disk:
        yield disk


def bridge_at(folder: Path, url: str, *, port: int | None = None) -> BridgeProcess:
    if port is not None:
        url = url.replace(f":{urlsplit(url).port}/", f":{port}/")
    bridge = BridgeProcess(folder, **databases.settings(url))
    bridge.plugin("echo", "def handle(event):\n    return event.data\n")
    return bridge


def deliver(bridge: BridgeProcess, count: int, *, more: str = "") -> list[str]:
    """Post, and give the ids of the executions; every answer is the plugin's, and durable."""
    ids = []
    for number in range(count):
        body = {"n": number, "more": more}
        answer = bridge.post("echo", body)
        assert (answer.status_code, answer.json()) == (200, body)
        assert answer.headers["X-Execution-Durable"] in KEPT, bridge.log
        ids.append(answer.headers["X-Execution-Id"])
    return ids


def listed(bridge: BridgeProcess) -> list[str] | None:
    """Oldest first; None while the history cannot be read."""
    answer = bridge.client.get("/api/v1/executions", params={"limit": 1000})
    return [row["id"] for row in reversed(answer.json()["executions"])] if answer.status_code == 200 else None


def assert_reads_say_that_it_is_away(bridge: BridgeProcess) -> None:
    """Each within three seconds, also when several ask at once."""
    with httpx.Client(base_url=bridge.url, timeout=3.0) as client:
        for path in ("/executions", "/executions/stats", "/executions/storage/info", "/executions/0"):
            answer = client.get(f"/api/v1{path}")
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable"), answer.text
            assert int(answer.headers["Retry-After"]) >= 1


def health(bridge: BridgeProcess) -> Any:
    return bridge.client.get("/health").json()


def assert_all_is_well_and_on_record(bridge: BridgeProcess, ids: list[str]) -> None:
    assert until(lambda: listed(bridge) == ids, seconds=40), (listed(bridge), ids, bridge.log)
    assert until(lambda: health(bridge)["status"] == "ok", seconds=20), health(bridge)
    assert health(bridge)["spool"]["dropped"] == {}
