"""Our attributes on a span of another program: each of its type, within bounds, redacted; or not there. Pure.

A sender may have put anything under our names. Payloads pass through the same `capture` as those of our own executions,
so that what went through it once comes out of it as it went in.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from otel_tracker import conventions as names
from otel_tracker.capture import MAX_FACTS, CaptureSettings, capture, capture_json, facts_text
from otel_tracker.classification import ERROR_TYPES, classify_names
from otel_tracker.record import Status
from otel_tracker.redaction import Redactor

_FINAL: Final = frozenset(status.value for status in Status if status.is_final)
_TEXTS: Final = (
    names.PLUGIN_NAME, names.INSTANCE_ID, names.DELIVERY_ID, names.HTTP_REQUEST_METHOD, names.CLIENT_ADDRESS,
    names.USER_AGENT_ORIGINAL, names.ERROR, names.TRACEBACK, names.HTTP_ROUTE, names.URL_PATH, names.URL_SCHEME,
    names.CODE_FUNCTION_NAME,
)  # fmt: skip
_MAX_INT: Final = 2**63 - 1


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an execution that another program tells of."""

    capture: CaptureSettings = CaptureSettings()
    redactor: Redactor = Redactor()
    max_log_bytes: int = 262_144


class Given:
    """The attributes of one execution's span, brought into order in place."""

    MAX_TEXT: Final = 65_536

    def __init__(self, attributes: dict[str, Any], rules: Rules) -> None:
        self._attributes = attributes
        self._rules = rules

    def check(self, *, is_error: bool, description: str) -> None:
        """All of them; the span's own status says how it ended where `otel_tracker.status` does not."""
        attributes, settings = self._attributes, self._rules.capture
        for name in _TEXTS:
            if name in attributes:
                attributes[name] = _text(attributes[name])
        self._integer(names.ATTEMPTS, 1, 1_000_000)
        self._integer(names.DURATION, 0, _MAX_INT)
        self._integer(names.HTTP_RESPONSE_STATUS_CODE, 0, 999)
        self._payload(names.INPUT, settings.max_input_size, is_kept=settings.track_input)
        self._payload(names.OUTPUT, settings.max_output_size, is_kept=settings.track_output)
        self._payload(names.LOGS, self._rules.max_log_bytes, is_kept=True)
        self._facts(names.TAGS)
        self._facts(names.METADATA)
        self._logs()
        self._ending(is_error=is_error, description=description)

    def _ending(self, *, is_error: bool, description: str) -> None:
        attributes = self._attributes
        if attributes.get(names.STATUS) not in _FINAL:
            attributes[names.STATUS] = (Status.FAILED if is_error else Status.COMPLETED).value
        if attributes[names.STATUS] == Status.COMPLETED.value:
            attributes.pop(names.ERROR_TYPE, None)
            return
        if not self._rules.capture.track_errors:
            attributes[names.ERROR] = attributes[names.TRACEBACK] = ""
        kind = _text(attributes.get(names.ERROR_TYPE, ""))
        if kind not in ERROR_TYPES:
            attributes[names.ERROR_TYPE] = classify_names([kind], attributes.get(names.ERROR) or description)

    def _integer(self, name: str, low: int, high: int) -> None:
        value = self._attributes.get(name, low)
        if type(value) is not int or not low <= value <= high:
            del self._attributes[name]  # what no number is, or an impossible one

    def _payload(self, name: str, max_bytes: int, *, is_kept: bool) -> None:
        value = self._attributes.pop(name, "")
        if value == "" or not is_kept:
            return
        redactor = self._rules.redactor
        if isinstance(value, str):
            raw = value.encode("utf-8", "replace")
            try:
                found = capture_json(raw, msgspec.json.decode(raw), max_bytes=max_bytes, redactor=redactor)
            except (msgspec.MsgspecError, RecursionError):
                found = capture(value, max_bytes=max_bytes, redactor=redactor)
        else:
            found = capture(value, max_bytes=max_bytes, redactor=redactor)
        self._attributes[name] = found.text

    def _facts(self, name: str) -> None:
        """A JSON object as text, or an object as it is."""
        self._payload(name, MAX_FACTS, is_kept=True)
        text = self._attributes.get(name, "")
        if text and not text.startswith("{"):
            self._attributes[name] = facts_text({"value": text}, redactor=self._rules.redactor)

    def _logs(self) -> None:
        """What is no list of lines becomes one line."""
        text = self._attributes.get(names.LOGS, "")
        if text and not text.startswith("["):
            self._attributes[names.LOGS] = msgspec.json.encode([{"stream": "log", "text": text}]).decode()


def _text(value: object) -> str:
    if isinstance(value, str):
        return value[: Given.MAX_TEXT]
    return str(value)[: Given.MAX_TEXT] if isinstance(value, (int, float, bool)) else ""
