"""What `forwarding` and `metrics` have in common: how an OTLP backend is named, and OpenTelemetry's variables for it.

In: values that fit, and an environment. Out: frozen structs. The variables are
https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES of
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/; those of one signal win over the
general ones. Nothing here opens a connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID, SERVICE_VERSION

from bridge_app.config_sections import OptionalPath, Section
from bridge_app.errors import ConfigError
from bridge_app.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

Endpoint = Annotated[str, Meta(pattern=r"^[!-~]*\Z", description='a URL, such as "http://localhost:4318/v1/traces"')]
Headers = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")],
        Annotated[str, Meta(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f-\uffff]*\Z")],
    ],
    Meta(description='headers and their values, such as {authorization: "Bearer ${TOKEN}"}', extra={"secret": True}),
]
Protocol = Literal["otlp-http", "otlp-http-json", "otlp-grpc"]
FROM_ENVIRONMENT: Final = "environment OTEL_EXPORTER_OTLP_*"
SERVICE_NAME: Final = "webhook-bridge"
_LARGEST_SECONDS: Final = 600.0
_PROTOCOLS: Final = {"grpc": "otlp-grpc", "http/protobuf": "otlp-http", "http/json": "otlp-http-json"}


class TlsConfig(Section, frozen=True, kw_only=True):
    """How a destination is trusted, and how it trusts us."""

    ca_file: OptionalPath = ""
    client_cert_file: OptionalPath = ""
    client_key_file: OptionalPath = ""
    insecure: bool = False


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """What the variables say of one signal."""

    endpoint: str
    protocol: Protocol
    headers: dict[str, str]
    compression: Literal["none", "gzip"]
    timeout_seconds: float
    tls: TlsConfig
    source: str
    """The variable that has the endpoint."""


def backend_of(environ: Mapping[str, str], signal: Literal["traces", "metrics"]) -> Backend | None:
    """None without an endpoint, or where the signal is switched off. Raises `ConfigError` for what does not fit."""

    def value(name: str) -> tuple[str, str]:
        """Of the variable for the signal, else of the general one; and which it was."""
        for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if environ.get(variable, "").strip():
                return environ[variable].strip(), variable
        return "", f"OTEL_EXPORTER_OTLP_{name}"

    endpoint, source = value("ENDPOINT")
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not endpoint or is_off or environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() == "none":
        return None
    protocol, variable = value("PROTOCOL")
    if protocol and protocol not in _PROTOCOLS:
        raise ConfigError(f"environment {variable} is {protocol!r}: expected one of {', '.join(_PROTOCOLS)}")
    kind = _PROTOCOLS[protocol or "http/protobuf"]
    if kind != "otlp-grpc" and source == "OTEL_EXPORTER_OTLP_ENDPOINT":
        endpoint = endpoint.rstrip("/") + f"/v1/{signal}"
    compression, variable = value("COMPRESSION")
    if compression not in {"", "none", "gzip"}:
        raise ConfigError(f"environment {variable} is {compression!r}: expected none or gzip")
    made = Backend(
        endpoint=endpoint,
        protocol=cast("Protocol", kind),
        headers=_pairs(*value("HEADERS")),
        compression="gzip" if compression == "gzip" else "none",
        timeout_seconds=_seconds(*value("TIMEOUT")),
        tls=absolute_tls(
            TlsConfig(
                ca_file=value("CERTIFICATE")[0],
                client_cert_file=value("CLIENT_CERTIFICATE")[0],
                client_key_file=value("CLIENT_KEY")[0],
                insecure=kind == "otlp-grpc" and value("INSECURE")[0].lower() == "true",
            ),
            Path.cwd(),
        ),
        source=source,
    )
    problem = problem_of(made.protocol, made.endpoint, made.tls, example=f"http://localhost:4318/v1/{signal}")
    if problem:
        raise ConfigError(f"environment {source} is {environ[source]!r}: {problem[1]}")
    return made


def problem_of(protocol: str, endpoint: str, tls: TlsConfig, *, example: str) -> tuple[str, str] | None:
    """The key that does not go with the others, and what is expected of it."""
    if tls.client_key_file and not tls.client_cert_file:
        return "tls", "a client key without its certificate: expected client_cert_file too"
    is_grpc = protocol == "otlp-grpc"
    try:
        parts = urlsplit(endpoint if "://" in endpoint or not is_grpc else f"//{endpoint}")
        is_fine = bool(parts.hostname) and parts.scheme in ({"", "http", "https"} if is_grpc else {"http", "https"})
        is_fine = is_fine and parts.port != 0
    except ValueError:  # a port that is none
        is_fine = False
    if not is_fine:
        return "endpoint", f"expected a URL, such as {'http://localhost:4317' if is_grpc else example}"
    if "@" in parts.netloc:
        return "endpoint", "who may see it would see the password: expected that among the headers"
    return None


def absolute_tls(tls: TlsConfig, base: Path) -> TlsConfig:
    """Each file that it names, relative to `base`."""
    files = {name: absolute(getattr(tls, name), base) for name in ("ca_file", "client_cert_file", "client_key_file")}
    return msgspec.structs.replace(tls, **files)


def absolute(text: str, base: Path) -> str:
    """A path relative to `base`; "" stays."""
    return str((base / Path(text).expanduser()).absolute()) if text else text


def resource(environ: Mapping[str, str]) -> dict[str, str]:
    """Attributes of the resource; the instance's id is each span's own."""
    given = _pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES")
    given.pop(SERVICE_INSTANCE_ID, None)
    name = environ.get("OTEL_SERVICE_NAME", "").strip() or given.get("service.name") or SERVICE_NAME
    return {SERVICE_VERSION: VERSION} | given | {"service.name": name}


def _pairs(text: str, variable: str) -> dict[str, str]:
    """`a=1,b=2`, percent-encoded, as W3C Baggage has it."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ConfigError(
                f"environment {variable} holds a pair without a name or =: expected name=value,name=value"
            )
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def _seconds(text: str, variable: str) -> float:
    """The specification has milliseconds; what is below a second there was meant in seconds, as Python's SDK has it."""
    try:
        given = float(text or 10_000)
    except ValueError:
        raise ConfigError(f"environment {variable} is {text!r}: expected milliseconds, such as 10000") from None
    if not given > 0:
        raise ConfigError(f"environment {variable} is {text!r}: expected milliseconds, such as 10000")
    return min(given / 1000 if given >= 1000 else given, _LARGEST_SECONDS)
