"""Receivers of OTLP made from opentelemetry-proto, over real HTTP and gRPC, as faulty as they are told to be."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc  # type: ignore[import-untyped]
from google.protobuf.json_format import Parse
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Received:
    """What came, in requests that were answered with a success."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def ids(self) -> list[bytes]:
        return [span.span_id for span in self.spans]


class HttpReceiver(Received):
    """`POST /v1/traces` and `/v1/metrics`. `fault` is what happens to a request instead of a 200; None: nothing."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.fault: Callable[[BaseHTTPRequestHandler], bool] | None = None
        """Called with each request when its body was read; True: it was answered, or not, and that is that."""
        self.reads_half = False
        """Whether a connection is cut in the middle of the request's body."""
        self.body = b""
        """Of the last request."""
        self.seen = 0
        """Requests of any outcome."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # peers that go away are the point

        self._server = Server(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1/traces"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.seen += 1
        length = int(handler.headers["Content-Length"])
        if self.reads_half:
            handler.rfile.read(length // 2)
            reset(handler)
            return
        body = self.body = handler.rfile.read(length)
        if self.fault is not None and self.fault(handler):
            return
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        if handler.path.endswith("/v1/metrics"):
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            respond(handler, 200, b"")
        elif handler.headers["Content-Type"] == "application/json":
            self.requests.append(_from_json(body))
            respond(handler, 200, b"{}", kind="application/json")
        else:
            self.requests.append(ExportTraceServiceRequest.FromString(body))
            respond(handler, 200, b"")


def _from_json(body: bytes) -> ExportTraceServiceRequest:
    """OTLP's JSON has ids in hex, where protobuf's own has base64."""

    def fixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: base64.b64encode(bytes.fromhex(one)).decode()
                if key in {"traceId", "spanId", "parentSpanId"}
                else fixed(one)
                for key, one in value.items()
            }
        return [fixed(one) for one in value] if isinstance(value, list) else value

    return Parse(json.dumps(fixed(json.loads(body))), ExportTraceServiceRequest())


def respond(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, *, kind: str = "application/x-protobuf", **headers: str
) -> bool:
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def reset(handler: BaseHTTPRequestHandler) -> bool:
    """RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.close()
    return True


def cut_answer(handler: BaseHTTPRequestHandler) -> bool:
    """Half of an answer's body, and the end of the connection."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/x-protobuf")
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"\x0a\x02")
    handler.wfile.flush()
    handler.close_connection = True
    return True


def partial_success(rejected: int, message: str) -> bytes:
    made = ExportTraceServiceResponse()
    made.partial_success.rejected_spans = rejected
    made.partial_success.error_message = message
    return made.SerializeToString()


class Certificates:
    """A certificate authority's, a server's for 127.0.0.1, and a client's; files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 insists on it
        self._run("req", "-x509", "-nodes", *_CURVE, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", *usage)
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        for name in ("server", "client"):
            self._run("req", "-nodes", *_CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
            self._run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def server(self) -> ssl.SSLContext:
        """Only for clients with a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.pem"), self.path("server.key"))
        context.load_verify_locations(self.path("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [shutil.which("openssl") or "openssl", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )


class _GrpcMetrics(MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: ExportMetricsServiceRequest, context: Any) -> ExportMetricsServiceResponse:  # noqa: N802
        self._received.headers.append(dict(context.invocation_metadata()))
        self._received.metrics.append(request)
        return ExportMetricsServiceResponse()


class GrpcReceiver(Received, TraceServiceServicer):
    """The same over gRPC; `failures` are given first, each once."""

    def __init__(self, tls: Certificates | None = None) -> None:
        super().__init__()
        self.failures: list[tuple[grpc.StatusCode, float | None]] = []
        """A status, and the seconds of a RetryInfo with it."""
        self.sleep_seconds = 0.0
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        add_MetricsServiceServicer_to_server(_GrpcMetrics(self), self._server)  # type: ignore[no-untyped-call]
        if tls is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            pair = [Path(tls.path(f"server.{kind}")).read_bytes() for kind in ("key", "pem")]
            authority = Path(tls.path("ca.pem")).read_bytes()
            credentials = grpc.ssl_server_credentials([tuple(pair)], authority, require_client_auth=True)
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._server.start()

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        time.sleep(self.sleep_seconds)
        if self.failures:
            code, retry = self.failures.pop(0)
            if retry is not None:
                info = error_details_pb2.RetryInfo()
                info.retry_delay.FromMilliseconds(int(retry * 1000))
                status = status_pb2.Status(code=code.value[0], message="come back")
                status.details.add().Pack(info)
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(code, "come back")
        self.headers.append(dict(context.invocation_metadata()))
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def close(self) -> None:
        self._server.stop(None).wait(10)
