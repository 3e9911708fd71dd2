"""OTLP over HTTP: one POST for each request, protobuf or JSON, packed on request.

In: encoded spans. Out: an `Answer`; nothing is raised. OpenTelemetry's own exporter keeps the backend's answer to
itself and retries by its own clock, so the request is made here, with the `requests` that it brings along.
"""

from __future__ import annotations

import gzip
import time
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import requests
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from requests.utils import get_environ_proxies
from urllib3.exceptions import InsecureRequestWarning

from exporters.otlp.answers import Answer, Verdict, of_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporters.forwarding.messages import DestinationSettings
    from exporters.otlp.wire import EncodedSpan, RequestEncoder

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_MAX_ANSWER_BYTES: Final = 65_536
_SHOWN: Final = 500


class HttpSender:
    """For one destination and one thread. The connection is kept open between requests."""

    def __init__(self, settings: DestinationSettings, encoder: RequestEncoder) -> None:
        tls = settings.tls
        self._settings = settings
        self._encode = encoder.json if settings.protocol == "otlp-http-json" else encoder.protobuf
        self._session = open_session(settings.endpoint)
        self._verify: bool | str = False if tls.insecure else (tls.ca_file or True)
        self._cert = (
            (tls.client_cert_file, tls.client_key_file) if tls.client_key_file else tls.client_cert_file or None
        )
        self._headers = {
            **settings.headers,
            "Content-Type": _JSON if settings.protocol == "otlp-http-json" else _PROTOBUF,
            "User-Agent": "otel-webhook-bridge",
        }
        if settings.compression == "gzip":
            self._headers["Content-Encoding"] = "gzip"

    def send(self, spans: Sequence[EncodedSpan]) -> Answer:
        """Send them, and say what came back."""
        body = self._encode(spans)
        if self._settings.compression == "gzip":
            body = gzip.compress(body, compresslevel=5)
        try:
            return self._post(body)
        except requests.exceptions.Timeout as error:
            seconds = f"{self._settings.timeout_seconds:g} s"
            return Answer(Verdict.RETRY, f"no answer within {seconds} ({type(error).__name__})", "timeout")
        except (requests.exceptions.RequestException, OSError) as error:
            return Answer(Verdict.RETRY, _why(error), "connection")

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def _post(self, body: bytes) -> Answer:
        settings = self._settings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)  # it was asked for
            response = self._session.post(
                settings.endpoint,
                data=body,
                headers=self._headers,
                timeout=settings.timeout_seconds,
                verify=self._verify,
                cert=self._cert,
                allow_redirects=False,  # a POST would become a GET
                stream=True,
            )
        with response:
            content = _read(response, until=time.monotonic() + settings.timeout_seconds)
        return _answer(response, content)


def open_session(endpoint: str) -> requests.Session:
    """Proxies once, not for each request; and neither a .netrc nor a bundle of the user's may have a say."""
    session = requests.Session()
    session.proxies.update(get_environ_proxies(endpoint))
    session.trust_env = False
    return session


def _why(error: Exception) -> str:
    """The operating system's or TLS's own words, without the classes that are wrapped around them."""
    inner: Any = error
    while isinstance(inner, Exception):
        following = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, Exception)), None)
        if not isinstance(following, Exception):
            break
        inner = following
    text = str(inner)
    return f"no connection: {text.rpartition(': ')[2] if 'Failed to establish' in text else text}"


def _read(response: requests.Response, *, until: float) -> bytes:
    """The body, as much of it as is wanted. Where it breaks off after the head, the head counts."""
    found = b""
    try:
        for piece in response.iter_content(4096):
            found += piece
            if len(found) > _MAX_ANSWER_BYTES or time.monotonic() > until:
                response.close()
                break
    except (requests.exceptions.RequestException, OSError):
        if response.ok:
            raise  # whether all was taken stands in the body
    return found


def _answer(response: requests.Response, content: bytes) -> Answer:
    message = _message(response, content)
    text = f"HTTP {response.status_code} {response.reason or ''}".rstrip() + (
        f": {message[:_SHOWN]}" if message else ""
    )
    if not 200 <= response.status_code < 300:
        retry_after = response.headers.get("Retry-After")
        return of_status(response.status_code, text=text, retry_after=retry_after, now=datetime.now(UTC))
    parsed = _parsed(response, content)
    if parsed is None or not parsed.HasField("partial_success"):
        return Answer(Verdict.TAKEN, text)
    partial = parsed.partial_success
    return Answer(
        Verdict.TAKEN,
        f"HTTP {response.status_code}, partial success: {partial.rejected_spans} spans rejected"
        + (f": {partial.error_message[:_SHOWN]}" if partial.error_message else ""),
        "partial_success",
        rejected=partial.rejected_spans,
    )


def _parsed(response: requests.Response, content: bytes) -> ExportTraceServiceResponse | None:
    """The answer as the message that it should be; None where a backend answers with something else."""
    try:
        if response.headers.get("Content-Type", "").startswith(_JSON):
            return Parse(content or b"{}", ExportTraceServiceResponse(), ignore_unknown_fields=True)
        return ExportTraceServiceResponse.FromString(content)
    except (ParseError, DecodeError, UnicodeDecodeError):
        return None


def _message(response: requests.Response, content: bytes) -> str:
    """What a body says, for people; errors are a `google.rpc.Status`, often in protobuf."""
    if not content:
        return ""
    kind = response.headers.get("Content-Type", "")
    if kind.startswith(_PROTOBUF):
        if response.ok:
            parsed: Any = _parsed(response, content)
            return " ".join(MessageToJson(parsed, indent=None).split()) if parsed is not None else ""
        return _status_message(content)
    return " ".join(content.decode("utf-8", "replace").split())


def _status_message(content: bytes) -> str:
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped] # noqa: PLC0415 - only a refusal needs it

    try:
        return str(Status.FromString(content).message)
    except DecodeError:
        return ""
