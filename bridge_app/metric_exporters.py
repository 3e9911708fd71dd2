"""OpenTelemetry's own exporters of metrics, as a configuration names them.

In: a `PushConfig`. Out: a `MetricExporter`. What such an exporter logs is let through once, until it is something
else: a backend that is away says the same thing every minute.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

from bridge_app.errors import ConfigError
from exporters.otlp.http_sender import open_session

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter

    from bridge_app.config_metrics import PushConfig
    from bridge_app.config_otlp import TlsConfig


def open_exporter(config: PushConfig) -> MetricExporter:
    """Raises `ConfigError`: the extra `grpc` is not installed, or a file cannot be read."""
    for name in ("http", "grpc"):
        logger = logging.getLogger(f"opentelemetry.exporter.otlp.proto.{name}")
        for part in ("metric_exporter", "exporter"):
            logger.getChild(part).addFilter(_News())
    try:
        return _grpc(config) if config.protocol == "otlp-grpc" else _http(config)
    except OSError as error:
        raise ConfigError(f"metrics.otlp.tls: {error.filename} cannot be read: {error.strerror}") from error


class _News(logging.Filter):
    """Lets a record through that says something else than the one before."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_new, self._last = text != self._last, text
        return is_new


def _http(config: PushConfig) -> MetricExporter:
    tls = config.tls
    for name in filter(None, (tls.ca_file, tls.client_cert_file, tls.client_key_file)):
        Path(name).open("rb").close()
    return OTLPMetricExporter(
        endpoint=config.endpoint,
        certificate_file=tls.ca_file or None,
        client_key_file=tls.client_key_file or None,
        client_certificate_file=tls.client_cert_file or None,
        headers=dict(config.headers),
        timeout=config.timeout_seconds,
        compression=Compression.Gzip if config.compression == "gzip" else Compression.NoCompression,
        session=open_session(config.endpoint),
    )


def _grpc(config: PushConfig) -> MetricExporter:
    try:
        import grpc  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, and 15 MB of memory
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigError(
            "metrics.otlp.protocol is 'otlp-grpc', which needs the extra: pip install 'otel-webhook-bridge[grpc]'"
        ) from error
    is_plain = config.endpoint.startswith("http://") or (
        not config.endpoint.startswith("https://") and config.tls.insecure
    )
    return metric_exporter.OTLPMetricExporter(
        endpoint=config.endpoint,
        insecure=is_plain,
        credentials=None if is_plain else grpc.ssl_channel_credentials(*_certificates(config.tls)),
        headers={name.lower(): value for name, value in config.headers.items()},
        timeout=config.timeout_seconds,
        compression=grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression,
    )


def _certificates(tls: TlsConfig) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The CA, the client's key, its certificate."""

    def content(path: str) -> bytes | None:
        return Path(path).read_bytes() if path else None

    return content(tls.ca_file), content(tls.client_key_file or tls.client_cert_file), content(tls.client_cert_file)
