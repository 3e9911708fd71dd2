"""OTLP in: spans a second from the bytes of a request to rows that are safe in the spool, beside what decoding costs.

    python -m benchmarks.bench_otlp_in

In turns, in one process: *parse* is protobuf's C code alone, which makes no Python value; *decode* reads every field of
every span into Python values, the least that a receiver in Python must do to look at them; *accept* is all that the
route does behind HTTP, for four senders at once: decode, check, redact, find the execution, make the row, append
it, wait for the disk. Meanwhile the drain's process writes what was accepted into SQLite, on the same cores.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bridge_app.cleaning import Bounds
from bridge_app.history import History
from bridge_app.otlp_in import JSON, PROTOBUF, OtlpReceiver
from exporters.otlp.decoding import from_json
from exporters.otlp.given import Rules
from exporters.otlp.incoming import messages_of
from exporters.otlp.messages import as_json
from otel_tracker.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

TRACES, CHILDREN, REQUESTS, ROUNDS = 64, 7, 4, 5
SPANS = TRACES * (1 + CHILDREN)
ATTRIBUTES = {
    "http.request.method": "POST", "http.route": "/orders/{id}", "url.path": "/orders/17", "url.scheme": "https",
    "client.address": "192.0.2.10", "user_agent.original": "shop/1.0", "server.address": "shop.example",
}  # fmt: skip


def batch(number: int) -> ExportTraceServiceRequest:
    """512 spans: executions with seven children each."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add()
    scope.resource.attributes.add(key="service.name").value.string_value = "shop"
    spans = scope.scope_spans.add().spans
    now = time.time_ns()
    for trace in range(TRACES):
        trace_id = (number * TRACES + trace + 1).to_bytes(16)
        for child in range(1 + CHILDREN):
            span = spans.add(trace_id=trace_id, span_id=(child + 1).to_bytes(8), name=f"step {child}", kind=2)
            span.start_time_unix_nano, span.end_time_unix_nano = now, now + 1_000_000
            values: dict[str, Any] = dict(ATTRIBUTES)
            if child:
                span.parent_span_id = (1).to_bytes(8)
            else:
                values |= {"otel_tracker.plugin.name": "order", "otel_tracker.input": '{"id":17,"items":[1,2,3]}'}
            for name, value in values.items():
                span.attributes.add(key=name).value.string_value = value
    return message


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def pairs(found: Any) -> dict[str, Any]:
    return {one.key: value_of(one.value) for one in found}


def decoded(message: ExportTraceServiceRequest) -> list[tuple[Any, ...]]:
    """Every field of every span, as Python values."""
    return [
        (
            span.trace_id, span.span_id, span.parent_span_id, span.name, span.kind, span.flags, span.trace_state,
            span.start_time_unix_nano, span.end_time_unix_nano, span.status.code, span.status.message,
            pairs(span.attributes),
            [(event.name, event.time_unix_nano, pairs(event.attributes)) for event in span.events],
            [(link.trace_id, link.span_id, pairs(link.attributes)) for link in span.links],
        )
        for span, _ in messages_of(message)
    ]  # fmt: skip


def rate(act: Callable[[bytes], object], bodies: list[bytes]) -> float:
    begun = time.perf_counter()
    for body in bodies:
        act(body)
    return SPANS * len(bodies) / (time.perf_counter() - begun)


async def accept(receiver: OtlpReceiver, bodies: list[bytes], content_type: str) -> float:
    begun = time.perf_counter()
    answers = await asyncio.gather(*[receiver.receive(each, content_type=content_type, encoding="") for each in bodies])
    assert all((each.status_code, each.content) in {(200, b""), (200, b"{}")} for each in answers)
    return SPANS * len(bodies) / (time.perf_counter() - begun)


async def measure(folder: Path) -> dict[str, list[float]]:
    history = History(
        store={"url": f"sqlite:///{folder}/executions.db"},
        spool_root=folder / "spool",
        spool_max_bytes=1 << 30,
        sync=True,
        instance_id="bench",
        bounds=Bounds(days=30, rollup_days=400),
    )
    history.bind(asyncio.get_running_loop())
    await asyncio.to_thread(history.start)
    await asyncio.to_thread(history.wait_for_drain, 5)
    receiver = OtlpReceiver(
        history, rules=Rules(redactor=Redactor()), max_unpacked_bytes=1 << 26, max_held_spans=1000, hold_seconds=60
    )
    rates: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        messages = [batch(number * REQUESTS + each) for each in range(REQUESTS)]
        binary = [message.SerializeToString() for message in messages]
        text = [as_json(message) for message in messages]
        for name, act in (
            ("parse protobuf", ExportTraceServiceRequest.FromString),
            ("decode protobuf", lambda body: decoded(ExportTraceServiceRequest.FromString(body))),
            (
                "decode protobuf by MessageToDict",
                lambda body: MessageToDict(ExportTraceServiceRequest.FromString(body)),
            ),
            ("decode JSON", lambda body: decoded(from_json(body))),
        ):
            rates.setdefault(name, []).append(rate(act, text if "JSON" in name else binary))
        rates.setdefault("accept protobuf", []).append(await accept(receiver, binary, PROTOBUF))
        rates.setdefault("accept JSON", []).append(await accept(receiver, text, JSON))
    receiver.close()
    await asyncio.to_thread(history.close)
    return rates


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        rates = asyncio.run(measure(Path(folder)))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, median in medians.items():
        print(f"otlp in  {name:34} {median:10,.0f} spans/s")
    for kind in ("protobuf", "JSON"):
        ratio = medians[f"accept {kind}"] / medians[f"decode {kind}"]
        print(f"otlp in  accept / decode {kind:13} {ratio:.2f} (must 0.5, aim 0.8)")
    ratio = medians["accept protobuf"] / medians["decode protobuf by MessageToDict"]
    print(f"otlp in  accept protobuf / decode it by MessageToDict {ratio:.2f}")
    print(f"otlp in  accept / parse protobuf      {medians['accept protobuf'] / medians['parse protobuf']:.3f}")


if __name__ == "__main__":
    main()
