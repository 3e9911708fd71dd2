"""What forwarding costs the webhooks, what a frozen destination costs, and how fast and how surely spans get there.

    python -m benchmarks.bench_forwarding
    python -m benchmarks.bench_forwarding 600       only an outage of so many seconds, with 100 spans a second

The forwarder by itself, with a full spool before it, next to OpenTelemetry's own BatchSpanProcessor with its
OTLPSpanExporter and as many ended spans in a queue that is large enough; and both with 1,000 spans a second while the
receiver does not answer for five seconds, the stock queue as it comes. Then two bridges, one with a destination and one
without, in bursts of 16 connections in turn; and the destination frozen, in turn with healthy. The receiver is a
process that only reads and answers; rates are as it sees them.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.bench_ingest import ended_spans
from benchmarks.bridge import BODY, bridge
from benchmarks.load import drive, post
from benchmarks.receiver import receiver
from exporters.forwarding.messages import DestinationSettings, ForwardSettings
from exporters.forwarding.process import ForwardProcess
from exporters.spool import Spool
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from benchmarks.load import Load
    from benchmarks.receiver import Handle

ROUNDS, SECONDS = 5, 3.0
SPANS = 20_000
REQUEST = post("/api/v1/webhook/bench", BODY)


def get(port: int, path: str) -> dict[str, Any]:
    """JSON of a bridge."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def destination(port: int) -> dict[str, Any]:
    """The only one."""
    listed = get(port, "/api/v1/destinations")
    return {**listed["destinations"][0], "behind_bytes": listed["behind_bytes"]}


def burst(port: int) -> Load:
    """Every answer is 200."""
    load = drive(port, REQUEST, connections=16, seconds=SECONDS)
    assert set(load.statuses) == {200}, load.statuses
    return load


def history_lag(port: int) -> float:
    """Seconds until the history has everything."""
    begun = time.perf_counter()
    while get(port, "/health")["spool"]["frames"]:
        time.sleep(0.02)
    return time.perf_counter() - begun


def settle(port: int, *, forwarded: bool) -> None:
    """Wait until nothing is on its way any more, so that the next burst has the machine to itself."""
    history_lag(port)
    while forwarded and ((now := destination(port))["waiting_spans"] or now["behind_bytes"]):
        time.sleep(0.1)
    time.sleep(1.2)  # a report may be a second old


def measure_bridge(folder: Path, place: Handle) -> None:
    """Print what the webhooks see of it."""
    destinations = json.dumps([{"name": "bench", "endpoint": place.url, "timeout_seconds": 60}])
    with (
        bridge(folder / "plain") as (plain, _),
        bridge(folder / "forwarding", FORWARDING__DESTINATIONS=destinations) as (forwarding, _),
    ):
        for port in (plain, forwarding):
            burst(port)
            settle(port, forwarded=port == forwarding)
        rates = []
        for _ in range(ROUNDS):
            without = burst(plain)
            settle(plain, forwarded=False)
            begun = destination(forwarding)["sent"]
            with_it = burst(forwarding)
            sent = destination(forwarding)["sent"] - begun
            rates.append((without.rate, with_it.rate, sent / max(1, len(with_it.latencies))))
            settle(forwarding, forwarded=True)
        pairs = []
        for _ in range(ROUNDS):
            healthy = burst(forwarding).quantile(0.99), history_lag(forwarding)
            settle(forwarding, forwarded=True)
            place.tell("freeze")
            frozen = burst(forwarding).quantile(0.99), history_lag(forwarding)
            place.tell("thaw")
            settle(forwarding, forwarded=True)
            pairs.append((*healthy, *frozen))
    without_rate, with_rate, share = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(b / a for a, b, _ in rates)
    print(
        f"forward   requests/s without {without_rate:.0f}, with a destination {with_rate:.0f}: ratio {ratio:.2f} "
        f"(must 0.85, aim 0.95); {share:.0%} were forwarded within the burst"
    )
    p99, lag, frozen_p99, frozen_lag = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(one[2] - one[0] for one in pairs)
    print(
        f"forward   p99 healthy {p99:.2f} ms, frozen {frozen_p99:.2f}: added {added:.2f} ms (must 1, aim 0.5); "
        f"the history is {lag:.2f} s behind after a burst, {frozen_lag:.2f} frozen",
        flush=True,
    )


def ours(folder: Path, place: Handle, spans: Sequence[ReadableSpan]) -> float:
    """Spans a second."""
    spool = Spool.open(folder / "spool", instance_id="bench", is_followed=True)
    SpooledSpanExporter(ExecutionRecordExporter(), spool).export(spans)
    spool.flush(timeout_seconds=30)
    process = _process(folder, place)
    process.start()
    rate: float = place.wait_for(len(spans), seconds=60)["rate"]
    process.stop(timeout_seconds=5)
    spool.close(timeout_seconds=5)
    return rate


def stock(place: Handle, spans: Sequence[ReadableSpan]) -> float:
    """Spans a second."""
    processor = BatchSpanProcessor(OTLPSpanExporter(place.url), max_queue_size=2 * len(spans))
    for span in spans:
        processor.on_end(span)
    processor.force_flush(60_000)
    rate: float = place.wait_for(len(spans), seconds=60)["rate"]
    processor.shutdown()  # type: ignore[no-untyped-call]
    return rate


def _process(folder: Path, place: Handle) -> ForwardProcess:
    return ForwardProcess(
        ForwardSettings(
            spool_root=str(folder / "spool"),
            instance_id="bench",
            forward_root=str(folder / "forward"),
            destinations=(DestinationSettings(name="bench", endpoint=place.url, timeout_seconds=2),),
            resource={"service.name": "bench"},
        )
    )


class Outage(NamedTuple):
    """How long the receiver does not answer, and how many spans come a second."""

    seconds: float = 5.0
    per_second: int = 1000


def through_outage(
    place: Handle, spans: Sequence[ReadableSpan], emit: Callable[[ReadableSpan], object], outage: Outage
) -> None:
    """Paced; the receiver does not answer in the middle."""
    begun = time.perf_counter()
    is_frozen = False
    for number, span in enumerate(spans):
        emit(span)
        at = number / outage.per_second
        if not is_frozen and at >= 1 and at < 1 + outage.seconds:
            place.tell("freeze")
            is_frozen = True
        if is_frozen and at >= 1 + outage.seconds:
            place.tell("thaw")
            is_frozen = False
        time.sleep(max(0.0, begun + at - time.perf_counter()))


def measure_outage(folder: Path, place: Handle, outage: Outage) -> None:
    """Print both losses."""
    spans = ended_spans(int((outage.seconds + 3) * outage.per_second))
    place.tell("forget")
    processor = BatchSpanProcessor(OTLPSpanExporter(place.url))
    through_outage(place, spans, processor.on_end, outage)
    processor.force_flush(60_000)
    kept_by_stock = place.wait_for(len(spans), seconds=15)["different"]
    processor.shutdown()  # type: ignore[no-untyped-call]
    place.tell("forget")
    spool = Spool.open(folder / "spool", instance_id="bench", is_followed=True)
    exporter = SpooledSpanExporter(ExecutionRecordExporter(), spool)
    process = _process(folder, place)
    process.start()
    through_outage(place, spans, lambda span: exporter.export([span]), outage)
    found = place.wait_for(len(spans), seconds=60)
    process.stop(timeout_seconds=5)
    spool.close(timeout_seconds=5)
    print(
        f"forward   {outage.seconds:.0f} s away, {outage.per_second} spans/s: lost of {len(spans)} spans "
        f"{len(spans) - found['different']} (stock {len(spans) - kept_by_stock}), "
        f"sent twice {found['spans'] - found['different']}",
        flush=True,
    )


def measure_rate(folder: Path, place: Handle) -> None:
    """Print both rates."""
    spans = ended_spans(SPANS)
    pairs = []
    for number in range(3):
        place.tell("forget")
        theirs = stock(place, spans)
        place.tell("forget")
        pairs.append((theirs, ours(folder / str(number), place, spans)))
    theirs, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"forward   {own:.0f} spans/s, stock BatchSpanProcessor {theirs:.0f}: ratio {ratio:.2f} (must 1.0, aim 1.2)",
        flush=True,
    )


def main() -> None:
    """Print all."""
    with tempfile.TemporaryDirectory() as root, receiver() as place:
        measure_rate(Path(root) / "rate", place)
        measure_outage(Path(root) / "outage", place, Outage())
        measure_bridge(Path(root) / "bridges", place)


def only_outage(seconds: float) -> None:
    """Print the losses of a long one."""
    with tempfile.TemporaryDirectory() as root, receiver() as place:
        measure_outage(Path(root), place, Outage(seconds, 100))


if __name__ == "__main__":
    main() if len(sys.argv) < 2 else only_outage(float(sys.argv[1]))
