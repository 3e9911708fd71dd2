"""Every span attribute that we write or read: its name, type, meaning, an example, and whose it is.

Our own names live in the namespace `otel_tracker.`; the others are OpenTelemetry's semantic conventions 1.44
(https://opentelemetry.io/docs/specs/semconv/). A test compares those with the `opentelemetry-semantic-conventions`
package, another prints this table into the docs. Constants are plain strings: nothing to import, nothing to move.
"""

from __future__ import annotations

from typing import Final

import msgspec

# Ours.
EXECUTION_ID: Final = "otel_tracker.execution.id"
PARENT_EXECUTION_ID: Final = "otel_tracker.execution.parent_id"
PLUGIN_NAME: Final = "otel_tracker.plugin.name"
STATUS: Final = "otel_tracker.status"
INPUT: Final = "otel_tracker.input"
OUTPUT: Final = "otel_tracker.output"
ERROR: Final = "otel_tracker.error.message"
TRACEBACK: Final = "otel_tracker.error.traceback"
LOGS: Final = "otel_tracker.logs"
TAGS: Final = "otel_tracker.tags"
METADATA: Final = "otel_tracker.metadata"
ATTEMPTS: Final = "otel_tracker.attempts"
INSTANCE_ID: Final = "otel_tracker.instance.id"
DELIVERY_ID: Final = "otel_tracker.delivery.id"
DURATION: Final = "otel_tracker.duration"

# OpenTelemetry's.
ERROR_TYPE: Final = "error.type"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
CLIENT_ADDRESS: Final = "client.address"
USER_AGENT_ORIGINAL: Final = "user_agent.original"
CODE_FUNCTION_NAME: Final = "code.function.name"


class Attribute(msgspec.Struct, frozen=True):
    """One row of the table in docs/attributes.md."""

    name: str
    type: str
    meaning: str
    example: str
    at_start: bool
    """Whether it is set when the span opens, and so known of an execution that never ends."""


ATTRIBUTES: Final = (
    Attribute(
        EXECUTION_ID, "string", "Id of the record, a UUIDv7", "0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c", at_start=True
    ),
    Attribute(
        PARENT_EXECUTION_ID,
        "string",
        "On a child span: the execution it belongs to",
        "0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c",
        at_start=True,
    ),
    Attribute(PLUGIN_NAME, "string", "The plugin, or the tracked function's name", "github_push", at_start=True),
    Attribute(STATUS, "string", "How it ended: completed, failed, timeout, canceled", "completed", at_start=False),
    Attribute(INPUT, "string", "JSON that came in, redacted and bounded", '{"key": "value"}', at_start=True),
    Attribute(OUTPUT, "string", "JSON that went out, redacted and bounded", '{"result": "success"}', at_start=False),
    Attribute(ERROR, "string", "The exception's message, one line", "connection refused", at_start=False),
    Attribute(
        TRACEBACK,
        "string",
        "The exception's traceback, bounded",
        "Traceback (most recent call last): …",
        at_start=False,
    ),
    Attribute(
        LOGS,
        "string",
        "JSON list of what the code printed and logged, bounded",
        '[{"stream": "stdout", "text": "hi"}]',
        at_start=False,
    ),
    Attribute(TAGS, "string", "JSON object of strings to filter by", '{"job_id": "job-123"}', at_start=True),
    Attribute(
        METADATA,
        "string",
        "JSON object: what the code adds; of what was cut, size and hash",
        '{"priority": 1}',
        at_start=False,
    ),
    Attribute(ATTEMPTS, "int", "How many times the code was tried", "1", at_start=False),
    Attribute(INSTANCE_ID, "string", "The process that ran it", "0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c", at_start=True),
    Attribute(
        DELIVERY_ID,
        "string",
        "The sender's own id of the delivery",
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        at_start=True,
    ),
    Attribute(DURATION, "int", "Nanoseconds, by a monotonic clock", "1000000000", at_start=False),
    Attribute(ERROR_TYPE, "string", "Class of failure, from a closed list", "timeout", at_start=False),
    Attribute(HTTP_REQUEST_METHOD, "string", "The request's method", "POST", at_start=True),
    Attribute(HTTP_RESPONSE_STATUS_CODE, "int", "The answer's status", "200", at_start=False),
    Attribute(HTTP_ROUTE, "string", "The route's template", "/api/v1/webhook/{plugin}", at_start=True),
    Attribute(URL_PATH, "string", "The path as called", "/api/v1/webhook/github", at_start=True),
    Attribute(URL_SCHEME, "string", "http or https", "http", at_start=True),
    Attribute(CLIENT_ADDRESS, "string", "Who called", "192.0.2.10", at_start=True),
    Attribute(USER_AGENT_ORIGINAL, "string", "The caller's User-Agent", "GitHub-Hookshot/0f1b2c3", at_start=True),
    Attribute(CODE_FUNCTION_NAME, "string", "The tracked function", "shop.orders.import_all", at_start=True),
)


def markdown() -> str:
    """docs/attributes.md, whole."""
    lines = [
        "# Span attributes",
        "",
        "Every attribute that the tracker writes or reads. Names under `otel_tracker.` are ours, the others are",
        "OpenTelemetry's semantic conventions 1.44, all of them stable. *At start* says which a running execution shows",
        "already. This page is printed by",
        "`python -c \"from otel_tracker.conventions import markdown; print(markdown(), end='')\"`.",
        "",
        "| name | type | at start | meaning | example |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in ATTRIBUTES:
        known = "yes" if each.at_start else "no"
        lines.append(f"| `{each.name}` | {each.type} | {known} | {each.meaning} | `{each.example}` |")
    return "\n".join([*lines, ""])
