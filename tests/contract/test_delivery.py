"""A destination's delivery against a real receiver that fails in every way that receivers fail."""

from __future__ import annotations

import json
import shutil
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import msgspec
import pytest
from bridge_process import until as until_within
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import Certificates, GrpcReceiver, HttpReceiver, cut_answer, partial_success, reset, respond

from benchmarks.own_servers import free_port
from exporters.forwarding.delivery import Delivery
from exporters.forwarding.messages import DestinationSettings, TlsSettings
from exporters.orphans import orphans
from exporters.otlp.wire import EncodedSpan, RequestEncoder, to_frame
from exporters.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    Fault = Callable[[BaseHTTPRequestHandler], bool]


until = partial(until_within, seconds=30)


class Rig:
    """A spool with a delivery to `settings`."""

    def __init__(self, folder: Path, settings: DestinationSettings) -> None:
        self.folder = folder
        self.spool = Spool.open(folder, instance_id="1", max_bytes=settings.max_bytes, sync=False)
        encoder = RequestEncoder({"service.name": "test"})
        self.delivery = Delivery(settings, own=self.spool, path=folder / "1", encoder=encoder)
        self._put = 0

    def put(self, count: int) -> None:
        for _ in range(count):
            self._put += 1
            self.spool.append(to_frame(EncodedSpan("here", span(self._put).SerializeToString())))

    def report(self) -> Any:
        return self.delivery.report()

    def close(self) -> None:
        self.delivery.finish(deadline=time.monotonic())
        if self.delivery._thread.is_alive():
            self.delivery._thread.join(20)
        self.spool.close(timeout_seconds=5)


def span(number: int) -> Span:
    return Span(trace_id=bytes(15) + b"\1", span_id=number.to_bytes(8, "big"), name="execute test")


def numbers(spans: list[Span]) -> list[int]:
    return [int.from_bytes(one.span_id, "big") for one in spans]


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver()
    yield made
    made.close()


@pytest.fixture
def rig(tmp_path: Path, receiver: HttpReceiver) -> Iterator[Rig]:
    made = Rig(tmp_path, DestinationSettings(name="d", endpoint=receiver.url, timeout_seconds=0.5))
    yield made
    made.close()


def once(fault: Fault) -> Fault:
    """That fault for the first request only."""
    done: list[int] = []

    def act(handler: BaseHTTPRequestHandler) -> bool:
        if done:
            return False
        done.append(1)
        return fault(handler)

    return act


def freeze(handler: BaseHTTPRequestHandler) -> bool:
    """No answer until the client is gone, and then some."""
    time.sleep(1.0)
    handler.close_connection = True
    return True


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(reset, id="reset"),
        pytest.param(cut_answer, id="cut in the answer"),
        pytest.param(freeze, id="frozen"),
        pytest.param(lambda one: respond(one, 429, b"", Retry_After="0"), id="429"),
        pytest.param(lambda one: respond(one, 502, b""), id="502"),
        pytest.param(lambda one: respond(one, 503, b"", Retry_After="0"), id="503"),
        pytest.param(lambda one: respond(one, 504, b""), id="504"),
    ],
)
def test_what_a_fault_kept_back_arrives_in_order_and_is_counted_once(
    rig: Rig, receiver: HttpReceiver, fault: Fault
) -> None:
    receiver.fault = once(fault)
    rig.put(3)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 3)
    assert numbers(receiver.spans) == [1, 2, 3]
    assert until(lambda: rig.report().state == "ok")  # once the disk knows how far it is
    assert (rig.report().dropped, rig.report().dead_letters) == ({}, 0)
    assert rig.report().last_error


def test_a_request_that_is_cut_in_the_middle_comes_again(rig: Rig, receiver: HttpReceiver) -> None:
    receiver.reads_half = True
    rig.put(500)
    rig.delivery.start()
    assert until(lambda: rig.report().state == "retrying")
    receiver.reads_half = False
    assert until(lambda: rig.report().sent == 500)
    assert numbers(receiver.spans) == list(range(1, 501))


def test_a_port_where_nobody_listens_is_tried_until_somebody_does(tmp_path: Path) -> None:
    port = free_port()
    rig = Rig(tmp_path, DestinationSettings(name="d", endpoint=f"http://127.0.0.1:{port}/v1/traces"))
    rig.put(2)
    rig.delivery.start()
    assert until(lambda: rig.report().state == "retrying")
    assert (rig.report().waiting_spans, rig.report().sent) == (2, 0)
    receiver = HttpReceiver(port)
    assert until(lambda: rig.report().sent == 2)
    rig.close()
    receiver.close()


def test_a_slow_answer_is_waited_for(rig: Rig, receiver: HttpReceiver) -> None:
    """A byte at a time, within the destination's timeout."""

    def trickle(handler: BaseHTTPRequestHandler) -> bool:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
            handler.wfile.write(bytes((byte,)))
            handler.wfile.flush()
            time.sleep(0.005)
        return True

    receiver.fault = once(trickle)
    rig.put(2)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 2)
    assert (receiver.seen, rig.report().last_error) == (1, "")


def test_retry_after_is_honoured(rig: Rig, receiver: HttpReceiver) -> None:
    times: list[float] = []

    def busy(handler: BaseHTTPRequestHandler) -> bool:
        times.append(time.monotonic())
        return len(times) == 1 and respond(handler, 429, b"", Retry_After="2")

    receiver.fault = busy
    rig.put(1)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 1)
    assert times[1] - times[0] >= 2


@pytest.mark.parametrize("status", [401, 403, 404, 500, 301])
def test_other_answers_are_final_and_what_was_refused_is_kept(
    rig: Rig, receiver: HttpReceiver, tmp_path: Path, status: int
) -> None:
    receiver.fault = once(lambda one: respond(one, status, b"go away", kind="text/plain"))
    rig.put(2)
    rig.delivery.start()
    assert until(lambda: rig.report().dead_letters == 2)
    (dead,) = (tmp_path / "1" / "dead").iterdir()
    assert dead.name.endswith(f"-http_{status}.frame")
    kept = json.loads(dead.read_bytes())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [int(one["spanId"], 16) for one in kept] == [1, 2]
    assert "go away" in rig.report().last_error
    rig.put(1)
    assert until(lambda: rig.report().sent == 1)


def test_one_bad_span_does_not_take_the_others_along(rig: Rig, receiver: HttpReceiver) -> None:
    """A 400 is tried in halves until the one is found that the backend does not want."""

    def picky(handler: BaseHTTPRequestHandler) -> bool:
        request = ExportTraceServiceRequest.FromString(receiver.body)
        return 13 in numbers(list(request.resource_spans[0].scope_spans[0].spans)) and respond(handler, 400, b"bad")

    receiver.fault = picky
    rig.put(20)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 19)
    assert rig.report().dead_letters == 1
    assert numbers(receiver.spans) == [number for number in range(1, 21) if number != 13]


def test_a_partial_success_is_a_success_and_counted(rig: Rig, receiver: HttpReceiver) -> None:
    receiver.fault = once(lambda one: respond(one, 200, partial_success(2, "too old")))
    rig.put(5)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 3)
    report = rig.report()
    assert (report.rejected, report.dead_letters, report.state, report.waiting_spans) == (2, 0, "ok", 0)
    assert "too old" in report.last_error


def test_what_does_not_fit_into_the_budget_is_counted_and_the_rest_arrives(
    tmp_path: Path, receiver: HttpReceiver
) -> None:
    rig = Rig(tmp_path, DestinationSettings(name="d", endpoint=receiver.url, max_bytes=4000))
    rig.put(200)
    assert rig.spool.flush(timeout_seconds=5)
    dropped = rig.report().dropped["spool_full"]
    assert 0 < dropped < 200
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 200 - dropped)
    assert numbers(receiver.spans) == list(range(1, 201 - dropped))
    rig.close()


def test_what_a_dead_process_left_is_delivered_and_its_folder_goes(tmp_path: Path, receiver: HttpReceiver) -> None:
    dead = Spool.open(tmp_path, instance_id="2", sync=False)
    dead.append(to_frame(EncodedSpan("there", span(77).SerializeToString())))
    dead.close(timeout_seconds=5)
    rig = Rig(tmp_path, DestinationSettings(name="d", endpoint=receiver.url))
    for found in orphans(tmp_path):
        rig.delivery.adopt(found)
    assert rig.report().waiting_spans == 1
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 1)
    assert numbers(receiver.spans) == [77]
    assert until(lambda: not (tmp_path / "2").exists())
    rig.close()


@pytest.mark.parametrize("protocol", ["otlp-http", "otlp-http-json"])
def test_headers_and_compression_arrive(tmp_path: Path, receiver: HttpReceiver, protocol: Any) -> None:
    settings = DestinationSettings(
        name="d",
        protocol=protocol,
        endpoint=receiver.url,
        headers={"authorization": "Bearer sesame"},
        compression="gzip",
    )
    rig = Rig(tmp_path, settings)
    rig.put(3)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 3)
    assert numbers(receiver.spans) == [1, 2, 3]
    assert receiver.headers[0]["authorization"] == "Bearer sesame"
    assert receiver.headers[0]["content-encoding"] == "gzip"
    attributes = {one.key: one.value.string_value for one in receiver.requests[0].resource_spans[0].resource.attributes}
    assert attributes == {"service.name": "test", "service.instance.id": "here"}
    rig.close()


def test_grpc_retries_what_the_specification_says_and_honours_retry_info(tmp_path: Path) -> None:
    receiver = GrpcReceiver()
    receiver.failures = [
        (grpc.StatusCode.UNAVAILABLE, None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.2),
        (grpc.StatusCode.PERMISSION_DENIED, None),
    ]
    rig = Rig(
        tmp_path,
        DestinationSettings(name="d", protocol="otlp-grpc", endpoint=receiver.url, headers={"X-Key": "1"}),
    )
    rig.put(2)
    rig.delivery.start()
    assert until(lambda: rig.report().dead_letters == 2)
    rig.put(1)
    assert until(lambda: rig.report().sent == 1)
    assert numbers(receiver.spans) == [3]
    assert receiver.headers[0]["x-key"] == "1"
    rig.close()
    receiver.close()


def test_a_frozen_grpc_server_is_tried_again(tmp_path: Path) -> None:
    receiver = GrpcReceiver()
    receiver.sleep_seconds = 1.0
    rig = Rig(
        tmp_path,
        DestinationSettings(name="d", protocol="otlp-grpc", endpoint=receiver.url, timeout_seconds=0.3),
    )
    rig.put(1)
    rig.delivery.start()
    assert until(lambda: rig.report().state == "retrying")
    receiver.sleep_seconds = 0
    assert until(lambda: rig.report().sent == 1)
    rig.close()
    receiver.close()


def test_a_file_holds_a_line_of_otlp_json_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "out" / "spans.jsonl"
    rig = Rig(tmp_path / "spool", DestinationSettings(name="d", protocol="file", path=str(path)))
    rig.put(3)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 3)
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    found = [one for line in lines for one in line["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert [one["spanId"] for one in found] == [f"{number:016x}" for number in (1, 2, 3)]
    rig.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("NO OPENSSL on this machine")
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("protocol", ["otlp-http", "otlp-grpc"])
def test_both_sides_of_tls_show_their_certificates(tmp_path: Path, certificates: Certificates, protocol: Any) -> None:
    """The server's is checked against the destination's own authority; without a client's it takes nothing."""
    receiver = GrpcReceiver(certificates) if protocol == "otlp-grpc" else HttpReceiver(tls=certificates.server())
    ours = TlsSettings(
        ca_file=certificates.path("ca.pem"),
        client_cert_file=certificates.path("client.pem"),
        client_key_file=certificates.path("client.key"),
    )
    for name, tls in (("ours", ours), ("stranger", TlsSettings(ca_file=ours.ca_file)), ("blind", TlsSettings())):
        settings = DestinationSettings(name=name, protocol=protocol, endpoint=receiver.url, tls=tls, timeout_seconds=5)
        rig = Rig(tmp_path / name, settings)
        rig.put(1)
        rig.delivery.start()
        if name == "ours":
            assert until(lambda rig=rig: rig.report().sent == 1)  # type: ignore[misc]
        else:
            assert until(lambda rig=rig: rig.report().state == "retrying")  # type: ignore[misc]
        rig.close()
    assert len(receiver.spans) == 1
    receiver.close()


def test_insecure_means_that_no_certificate_is_checked(tmp_path: Path, certificates: Certificates) -> None:
    context = certificates.server()
    context.verify_mode = ssl.CERT_NONE
    receiver = HttpReceiver(tls=context)
    rig = Rig(tmp_path, DestinationSettings(name="d", endpoint=receiver.url, tls=TlsSettings(insecure=True)))
    rig.put(1)
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 1)
    rig.close()
    receiver.close()


def test_a_torn_frame_at_the_end_of_a_spool_costs_no_processor(tmp_path: Path, receiver: HttpReceiver) -> None:
    """As a full disk leaves one: it is there, and cannot be read."""
    rig = Rig(tmp_path, DestinationSettings(name="d", endpoint=receiver.url))
    rig.put(1)
    assert rig.spool.flush(timeout_seconds=5)
    (segment,) = (tmp_path / "1").glob("*.seg")
    with segment.open("ab") as file:
        file.write(b"\xf5SP\x01")
    looks: list[int] = []
    reader = rig.delivery._sources[0].reader
    original = reader.read

    def read(**limits: int) -> Any:
        looks.append(1)
        return original(**limits)

    reader.read = read  # type: ignore[method-assign]
    rig.delivery.start()
    assert until(lambda: rig.report().sent == 1)
    time.sleep(0.5)
    assert len(looks) < 10
    rig.close()
