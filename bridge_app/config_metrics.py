"""The section `metrics` of `config.yaml`: where the figures of `/metrics` are pushed to, beside being scraped.

In: values that fit, and an environment. Out: a frozen struct. Without an endpoint in the file, OpenTelemetry's own
variables name it; see `config_otlp`. Nothing here opens a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from bridge_app.config_otlp import Endpoint, Headers, TlsConfig, absolute_tls, backend_of, problem_of
from bridge_app.config_sections import Seconds, Section
from bridge_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class PushConfig(Section, frozen=True, kw_only=True):
    """An OTLP backend that takes metrics; none without an endpoint."""

    endpoint: Endpoint = ""
    protocol: Literal["otlp-http", "otlp-grpc"] = "otlp-http"
    headers: Headers = msgspec.field(default_factory=dict)
    tls: TlsConfig = TlsConfig()
    compression: Literal["none", "gzip"] = "none"
    timeout_seconds: Seconds = 10
    interval_seconds: Seconds = 60


class MetricsConfig(Section, frozen=True, kw_only=True):
    """What the bridge tells of itself."""

    otlp: PushConfig = PushConfig()


def completed(given: PushConfig, environ: Mapping[str, str], *, origins: Mapping[str, str]) -> PushConfig:
    """As given, or as the variables have it where no endpoint is given.

    Raises `ConfigError` where keys do not go together, or a variable does not fit.
    """
    if given.endpoint:
        problem = problem_of(given.protocol, given.endpoint, given.tls, example="http://localhost:4318/v1/metrics")
        if given.protocol == "otlp-http" and given.tls.insecure:
            problem = "tls.insecure", "OpenTelemetry's exporter of metrics checks certificates: expected ca_file"
        if problem:
            key, what = problem
            origin = origins.get(f"metrics.otlp.{key}", "default")
            value = True if key == "tls.insecure" else getattr(given, key)
            raise ConfigError(f"metrics.otlp.{key} is {value!r} ({origin}): {what}")
        return given
    found = backend_of(environ, "metrics")
    if found is None:
        return given
    return PushConfig(
        endpoint=found.endpoint,
        protocol="otlp-grpc" if found.protocol == "otlp-grpc" else "otlp-http",  # metrics as JSON nobody needs to send
        headers=found.headers,
        tls=found.tls,
        compression=found.compression,
        timeout_seconds=found.timeout_seconds,
        interval_seconds=_interval(environ, default=given.interval_seconds),
    )


def with_absolute_paths(given: PushConfig, base: Path) -> PushConfig:
    """Each file that it names, relative to `base`."""
    return msgspec.structs.replace(given, tls=absolute_tls(given.tls, base))


def _interval(environ: Mapping[str, str], *, default: float) -> float:
    name = "OTEL_METRIC_EXPORT_INTERVAL"
    text = environ.get(name, "").strip()
    try:
        milliseconds = float(text or default * 1000)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds <= 604_800_000:
        raise ConfigError(f"environment {name} is {text!r}: expected milliseconds, such as 60000")
    return milliseconds / 1000
