"""What a plugin file is written against: `BasePlugin` (class form) and `Event` (function form).

In: one delivery. Out: whatever the handler returns, JSON-like. Standard library only, because this file is also
imported by worker processes of interpreters that have nothing of ours installed. It does no I/O.

The class form is that of the Webhook Bridge that users know: hook files written for it run unchanged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LOGGER_PREFIX = "webhook_bridge.plugin"


def plugin_logger(name: str) -> logging.Logger:
    """The logger whose lines are kept with the plugin's execution, DEBUG included."""
    logger = logging.getLogger(f"{LOGGER_PREFIX}.{name}")
    logger.setLevel(logging.DEBUG)
    return logger


@dataclass(frozen=True)
class Event:
    """One delivery, as `def handle(event)` gets it and as `self.event` of a class gives it.

    `data` is the JSON body, the form, or the query; `headers` have lower-case names; `body` is what came, byte by byte.
    """

    data: Any
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    body: bytes = b""
    delivery_id: str = ""
    execution_id: str = ""
    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""
    logger: logging.Logger = field(default_factory=lambda: plugin_logger("unnamed"))


class BasePlugin:
    """A new instance serves each delivery. Override `handle`, or a method's own handler, or `run`.

    >>> class Plugin(BasePlugin):
    ...     def handle(self):
    ...         return {"hello": self.get_data("name", "world")}
    >>> Plugin({"name": "Ada"}).run()
    {'hello': 'Ada'}
    """

    event: Event

    def __init__(self, data: Any = None, logger: logging.Logger | None = None, http_method: str = "POST") -> None:
        self.data = {} if data is None else data
        self.logger = logger or plugin_logger("unnamed")
        self.http_method = http_method.upper()
        self.result: dict[str, Any] = {}
        self.event = Event(data=self.data, method=self.http_method, logger=self.logger)

    def get_data(self, key: str, default: Any = None) -> Any:
        """The delivery's value under `key`; `default` where there is none, or where the data is no object."""
        return self.data.get(key, default) if isinstance(self.data, dict) else default

    def set_result(self, key: str, value: Any) -> None:
        """Add to the answer that is given when the handler returns None."""
        self.result[key] = value

    def get_result(self) -> dict[str, Any]:
        """The answer so far."""
        return self.result

    def run(self) -> Any:
        """The HTTP method's own handler where the plugin has one, else `handle()`. An override replaces all of it."""
        return getattr(self, self.http_method.lower(), self.handle)()

    def handle(self) -> Any:
        """Any method without a handler of its own."""
        raise NotImplementedError(f"{type(self).__name__} handles no {self.http_method}: write a method handle(self)")

    def get(self) -> Any:
        """GET; `handle()` unless overridden."""
        return self.handle()

    def post(self) -> Any:
        """POST; `handle()` unless overridden."""
        return self.handle()

    def put(self) -> Any:
        """PUT; `handle()` unless overridden."""
        return self.handle()

    def patch(self) -> Any:
        """PATCH; `handle()` unless overridden."""
        return self.handle()

    def delete(self) -> Any:
        """DELETE; `handle()` unless overridden."""
        return self.handle()


def handled_methods(plugin_class: type) -> tuple[str, ...]:
    """The HTTP methods a plugin class answers: all where it overrides `run` or `handle`, else those it names."""

    def overridden(name: str) -> bool:
        return getattr(plugin_class, name, None) is not getattr(BasePlugin, name)

    if overridden("run") or overridden("handle"):
        return METHODS
    return tuple(method for method in METHODS if overridden(method.lower()))
