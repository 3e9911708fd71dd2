"""How long a page of the history takes when the history is big.

    python -m benchmarks.bench_pages [count [DATABASE]]

Fifty records over HTTP, one page after the other, from a bridge on a database of a million records; and, in turn with
them, from one of ten thousand on the same kind of database: the newest, those of each filter, those in the middle by
cursor; one record by its id; and a search for a text that is nowhere, which its budget ends. DATABASE is one that
`benchmarks.seed` filled with `count` records.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.bench_drain import database
from benchmarks.bridge import bridge, storage_settings
from benchmarks.load import Load, drive, get
from benchmarks.seed import SPAN_NANOSECONDS, seed
from otel_tracker.storage.query import encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SMALL = 10_000
PAGES, FILTERED_PAGES, SEARCHES = 1000, 200, 5
MOST_SECONDS = 20.0
"""For one kind of page: where it is slow, fewer are measured."""
HISTORY = "/api/v1/executions"
LIST = f"{HISTORY}?limit=50"
LIGHT = f"{LIST}&fields=id,plugin_name,status,start_time,duration"
MIDDLE = encode_cursor(time.time_ns() - SPAN_NANOSECONDS // 2, "a")
REQUESTS = {
    "newest 50": LIST,
    "newest 50, light": LIGHT,
    "newest 50 failed": f"{LIST}&status=failed",
    "newest 50 of a plugin": f"{LIST}&plugin=plugin_03",
}
FILTERED = {
    "newest 50 completed": f"{LIGHT}&status=completed",
    "completed of a plugin": f"{LIGHT}&status=completed&plugin=plugin_03",
    "failed or timed out": f"{LIGHT}&status=failed,timeout",
    "failed of a plugin": f"{LIGHT}&status=failed&plugin=plugin_03",
    "of three plugins": f"{LIGHT}&plugin=plugin_00,plugin_03,plugin_19",
    "of an error type": f"{LIGHT}&error_type=timeout",
    "of two error types": f"{LIGHT}&error_type=timeout,connection_error",
    "an error of a plugin": f"{LIGHT}&error_type=timeout&plugin=plugin_03",
    "with a tag": f"{LIGHT}&tags=team:engine",
    "failed with a tag": f"{LIGHT}&tags=team:engine&status=failed",
    "of a trace": f"{LIGHT}&trace_id=%(trace_id)s",
    "of a delivery": f"{LIGHT}&delivery_id=%(delivery_id)s",
    "of a trace in vain": f"{LIGHT}&trace_id={'a' * 32}",
    "of a day": f"{LIGHT}&start_time=-8d&end_time=-7d",
    "slow": f"{LIGHT}&min_duration=1s",
    "slow in vain": f"{LIGHT}&min_duration=1h",
    "slow, of a day": f"{LIGHT}&start_time=-8d&end_time=-7d&min_duration=200ms",
    "in the middle": f"{LIGHT}&cursor={MIDDLE}",
    "in the middle, whole": f"{LIST}&cursor={MIDDLE}",
    "in the middle, failed": f"{LIGHT}&status=failed&cursor={MIDDLE}",
    "offset in the middle": f"{LIGHT}&offset=%(half)s",
    "one by its id": f"{HISTORY}/%(id)s",
}
SEARCH = f"{LIGHT}&q=nowhere+to+be+found"


@contextmanager
def opened(url: str, count: int) -> Iterator[Callable[[str, int], Load]]:
    """A bridge on a database of `count` records; loads a page so many times."""
    with tempfile.TemporaryDirectory() as folder, bridge(Path(folder), **storage_settings(url)) as (port, _):
        wanted = one_of_the_middle(port) | {"half": count // 2}
        yield lambda path, times: load(port, path % wanted, times)


def one_of_the_middle(port: int) -> dict[str, Any]:
    """A record of thirty days ago."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{HISTORY}?limit=1&cursor={MIDDLE}", timeout=60) as answer:
        (record,) = json.load(answer)["executions"]
        return dict(record)


def load(port: int, path: str, count: int) -> Load:
    """So many of these pages, one after the other, on a server that is warm."""
    drive(port, get(path), connections=1, count=max(1, count // 20), seconds=MOST_SECONDS)
    found = drive(port, get(path), connections=1, count=count, seconds=MOST_SECONDS)
    assert set(found.statuses) == {200}, (path, found.statuses)
    return found


def compare(url: str, count: int) -> dict[str, float]:
    """Print a line a kind of page; gives how many times as long each takes as on a database of ten thousand."""
    times = dict.fromkeys(REQUESTS, PAGES) | dict.fromkeys(FILTERED, FILTERED_PAGES) | {"search, in vain": SEARCHES}
    ratios = {}
    with database(urlsplit(url).scheme) as small_url:
        seed(small_url, SMALL)
        with opened(small_url, SMALL) as small, opened(url, count) as big:
            for name, path in (REQUESTS | FILTERED | {"search, in vain": SEARCH}).items():
                few, found = small(path, times[name]), big(path, times[name])
                ratios[name] = found.quantile(0.5) / few.quantile(0.5)
                target = " (must 20, aim 5)" if name == "newest 50" else ""
                line = f"p50 {found.quantile(0.5):.2f} ms, p99 {found.quantile(0.99):.2f} ms{target}"
                line += f"; p50 ÷ that of {SMALL} records: {ratios[name]:.2f}"
                print(f"pages     {name:22} of {count}: {line}", flush=True)
    return ratios


def main(count: int = 1_000_000, url: str = "") -> None:
    """Fill a database, unless one is given, and compare."""
    if url:
        compare(url, count)
        return
    with database("sqlite") as made:
        seed(made, count)
        compare(made, count)


def arguments(given: Iterable[str]) -> tuple[Any, ...]:
    """A count, and where it is given a database's path or URL as a URL."""
    count, *rest = given or ("1000000",)
    return (int(count), *(one if "://" in one else f"sqlite:///{Path(one).absolute()}" for one in rest))


if __name__ == "__main__":
    main(*arguments(sys.argv[1:]))
