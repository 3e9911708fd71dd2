"""OTLP over gRPC; needs the extra `grpc`.

In: encoded spans. Out: an `Answer`; nothing is raised. The request is sent as the bytes that it is already.
Source: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.otlp.answers import Answer, Verdict, of_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporters.forwarding.messages import DestinationSettings, TlsSettings
    from exporters.otlp.wire import EncodedSpan, RequestEncoder

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DETAILS: Final = "grpc-status-details-bin"


class GrpcSender:
    """For one destination and one thread."""

    def __init__(self, settings: DestinationSettings, encoder: RequestEncoder) -> None:
        self._settings = settings
        self._encoder = encoder
        self._metadata = [(name.lower(), value) for name, value in settings.headers.items()]
        self._compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
        self._channel = self._open()
        self._export = self._stub()

    def send(self, spans: Sequence[EncodedSpan]) -> Answer:
        """Send them, and say what came back."""
        try:
            response = self._export(
                self._encoder.protobuf(spans),
                timeout=self._settings.timeout_seconds,
                metadata=self._metadata,
                compression=self._compression,
            )
        except grpc.RpcError as error:
            return self._failure(error)
        partial = response.partial_success
        if not response.HasField("partial_success"):
            return Answer(Verdict.TAKEN, "gRPC OK")
        text = f"gRPC OK, partial success: {partial.rejected_spans} spans rejected: {partial.error_message[:500]}"
        return Answer(Verdict.TAKEN, text, "partial_success", rejected=partial.rejected_spans)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def _failure(self, error: Any) -> Answer:
        code = error.code()
        answer = of_code(
            code.name, text=f"gRPC {code.name}: {error.details()}", retry_after_seconds=_retry_after(error)
        )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._reconnect()  # a peer that is frozen holds its connection open, and what replaced it is elsewhere
        return answer

    def _reconnect(self) -> None:
        self._channel.close()
        self._channel = self._open()
        self._export = self._stub()

    def _open(self) -> grpc.Channel:
        parts = urlsplit(self._settings.endpoint)
        target = parts.netloc if "://" in self._settings.endpoint else self._settings.endpoint
        is_plain = parts.scheme == "http" or (parts.scheme != "https" and self._settings.tls.insecure)
        options = [("grpc.max_reconnect_backoff_ms", 5000), ("grpc.initial_reconnect_backoff_ms", 200)]
        if is_plain:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, _credentials(self._settings.tls), options=options)

    def _stub(self) -> Any:
        return self._channel.unary_unary(
            _METHOD, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
        )


def _credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    def content(path: str) -> bytes | None:
        return Path(path).read_bytes() if path else None

    key = content(tls.client_key_file or tls.client_cert_file)
    return grpc.ssl_channel_credentials(content(tls.ca_file), key, content(tls.client_cert_file))


def _retry_after(error: Any) -> float | None:
    """Of a `RetryInfo` among the details."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return seconds
    return None
