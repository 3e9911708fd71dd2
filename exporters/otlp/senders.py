"""The sender that a destination's protocol names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from exporters.otlp.http_sender import HttpSender
from exporters.otlp.local_senders import ConsoleSender, FileSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporters.forwarding.messages import DestinationSettings
    from exporters.otlp.answers import Answer
    from exporters.otlp.wire import EncodedSpan, RequestEncoder


class Sender(Protocol):
    """Sends spans somewhere. For one thread."""

    def send(self, spans: Sequence[EncodedSpan]) -> Answer:
        """Send them, and say what came of it. Does not raise, and comes back within the destination's timeout or so."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class SenderError(Exception):
    """The destination's settings name something that is not there."""


def open_sender(settings: DestinationSettings, encoder: RequestEncoder) -> Sender:
    """Raises `SenderError`: the extra `grpc` is not installed, or a certificate cannot be read."""
    try:
        match settings.protocol:
            case "otlp-http" | "otlp-http-json":
                return HttpSender(settings, encoder)
            case "otlp-grpc":
                return _grpc(settings, encoder)
            case "file":
                return FileSender(settings, encoder)
            case "console":
                return ConsoleSender(settings, encoder)
            case _:
                assert_never(settings.protocol)
    except (OSError, ValueError) as error:
        raise SenderError(f"{type(error).__name__}: {error}") from error


def _grpc(settings: DestinationSettings, encoder: RequestEncoder) -> Sender:
    try:
        from exporters.otlp.grpc_sender import GrpcSender  # noqa: PLC0415 - an extra, and 15 MB of memory
    except ImportError as error:
        raise SenderError("otlp-grpc needs the extra: pip install 'otel-webhook-bridge[grpc]'") from error
    return GrpcSender(settings, encoder)
