"""The bridge's log: one line an event on standard error, as text or as JSON.

Only the three packages of this project get a level. The root logger gets our handler and keeps its level, and so does
every foreign logger: their warnings appear in the same form, their chatter stays off unless they were told otherwise.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from bridge_app.config_sections import LoggingConfig

OWN_LOGGERS = ("bridge_app", "exporters", "otel_tracker")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(config: LoggingConfig, *, stream: TextIO | None = None) -> logging.Handler:
    """Install the handler, once: a second call replaces the first one's. `stream` is standard error by default."""
    handler = BridgeHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [item for item in root.handlers if isinstance(item, BridgeHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(config.level)
    return handler


class BridgeHandler(logging.StreamHandler[TextIO]):
    """A stream handler that a second set-up recognises as ours."""


class TextFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO bridge_app.app: message`; the message stays in its line, a traceback follows."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        # A sender's text must not be able to forge a line of ours.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{_time(record)} {record.levelname} {record.name}: {message}"
        trouble = _traceback(self, record)
        return f"{line}\n{trouble}" if trouble else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, whatever `extra` gave, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, without the line's end. What JSON has no form for is written as its `str`."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        event: dict[str, object] = extra | {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trouble := _traceback(self, record):
            event["exception"] = trouble
        return json.dumps(event, default=str)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
