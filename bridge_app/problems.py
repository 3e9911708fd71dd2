"""Errors as the outside sees them: RFC 9457 problem documents, and the one table that decides their HTTP status.

In: one of our exceptions, or an HTTP status. Out: a `ProblemType` and a JSON document
`{"type": "/problems/<slug>", "title", "status", "detail", ...}`. `type` is stable: programs may switch on it.
Never does I/O, never puts a traceback or an unexpected exception's text into a document, knows no web framework
(`problem_handlers` joins this to Litestar). Source: RFC 9457.

EdgeError
├── BodyError                    the body cannot be read as what it says it is
│   └── UnsupportedBodyError     a media type or charset that is not read here
├── FieldError                   a parameter is wrong; names the field
├── NotInstalledError            it needs a package that is not installed here
├── NotFoundError                the named thing does not exist
│   └── HistoryDisabledError     there is no history, because tracking is off
├── PayloadTooLargeError         more bytes than the limit
└── UnavailableError             it would work later; says when to come back
    └── TooManyRequestsError     others are being served first
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from otel_tracker.errors import (
    CleanupRunningError,
    CursorError,
    PeriodTooLongError,
    StorageSchemaError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE: Final = "application/problem+json"


class EdgeError(Exception):
    """A request that is refused on purpose; its text is written for the sender."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BodyError(EdgeError):
    """The request body cannot be read as its content type."""


class UnsupportedBodyError(BodyError):
    """The body is of a media type or charset that the bridge does not read."""


class FieldError(EdgeError):
    """A parameter's value is wrong. `field` is its name as the sender wrote it; the text goes on: "is 'x': …"."""

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field


class NotFoundError(EdgeError):
    """What the URL names does not exist."""


class HistoryDisabledError(NotFoundError):
    """`execution_tracking.enabled` is false, so nothing is recorded and nothing can be read."""

    def __init__(self) -> None:
        super().__init__("No history is kept: execution_tracking.enabled is false.")


class NotInstalledError(EdgeError):
    """What was asked for needs an optional package; the text says how to install it."""


class PayloadTooLargeError(EdgeError):
    """The request has more bytes than the limit allows."""


class UnavailableError(EdgeError):
    """The same request may succeed after `retry_after_seconds`."""

    def __init__(self, detail: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class TooManyRequestsError(UnavailableError):
    """It is served once others are done."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: its HTTP status, the last part of its `type`, its human title."""

    status: int
    slug: str
    title: str


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that is wrong."""

    field: str
    """Its name, as the sender wrote it."""
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457): the body of every answer that is an error."""

    type: str
    """`/problems/<slug>`: stable, programs may switch on it."""
    title: str
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong with this request, and what to do."""
    errors: list[FieldProblem] = []
    """The parameters that are wrong, where the problem is in parameters."""
    error_type: str = ""
    """Of a webhook whose plugin failed: the `error_type` of its execution."""


_BY_STATUS: Final[dict[int, ProblemType]] = {
    kind.status: kind
    for kind in (
        ProblemType(400, "bad-request", "The request is malformed"),
        ProblemType(401, "unauthorized", "A valid bearer token is required"),
        ProblemType(403, "forbidden", "The request is not allowed"),
        ProblemType(404, "not-found", "There is nothing here"),
        ProblemType(405, "method-not-allowed", "The method is not supported here"),
        ProblemType(408, "request-timeout", "The request arrived too slowly"),
        ProblemType(409, "conflict", "The request conflicts with an earlier one"),
        ProblemType(410, "gone", "This is gone for good"),
        ProblemType(413, "payload-too-large", "The request body is too large"),
        ProblemType(414, "uri-too-long", "The request line is too long"),
        ProblemType(415, "unsupported-media-type", "The body's media type is not read here"),
        ProblemType(421, "misdirected-request", "This host name is not served here"),
        ProblemType(422, "invalid-parameter", "A parameter is invalid"),
        ProblemType(429, "too-many-requests", "Too many requests"),
        ProblemType(431, "headers-too-large", "The request headers are too large"),
        ProblemType(500, "internal-error", "The bridge failed to answer"),
        ProblemType(501, "not-installed", "A package that this needs is not installed"),
        ProblemType(503, "unavailable", "The bridge cannot answer this now"),
        ProblemType(504, "timeout", "The answer took too long"),
    )
}

# The first class of an exception's MRO that stands here decides.
_BY_CLASS: Final[dict[type[BaseException], ProblemType]] = {
    BodyError: ProblemType(400, "invalid-body", "The request body cannot be read"),
    UnsupportedBodyError: _BY_STATUS[415],
    FieldError: _BY_STATUS[422],
    NotFoundError: _BY_STATUS[404],
    HistoryDisabledError: ProblemType(404, "history-disabled", "No history is kept"),
    NotInstalledError: _BY_STATUS[501],
    PayloadTooLargeError: _BY_STATUS[413],
    UnavailableError: _BY_STATUS[503],
    TooManyRequestsError: _BY_STATUS[429],
    CursorError: _BY_STATUS[422],
    PeriodTooLongError: _BY_STATUS[422],
    CleanupRunningError: ProblemType(409, "cleanup-running", "Another cleanup is running"),
    StorageUnavailableError: ProblemType(503, "storage-unavailable", "The history cannot be read now"),
    StorageSchemaError: ProblemType(503, "storage-unavailable", "The history cannot be read now"),
}


# Where the bridge did its part, and the plugin did not.
PLUGIN_FAILED: Final = ProblemType(500, "plugin-failed", "The plugin failed")
PLUGIN_BROKEN: Final = ProblemType(503, "plugin-broken", "The plugin's file does not load")


def known_problem_types() -> list[ProblemType]:
    """Every kind in the tables, by status."""
    kinds = {*_BY_STATUS.values(), *_BY_CLASS.values(), PLUGIN_FAILED, PLUGIN_BROKEN}
    return sorted(kinds, key=lambda kind: (kind.status, kind.slug))


def problem_type_for_status(status: int) -> ProblemType:
    """The table's entry, or one made of the status's standard phrase; a number that is no HTTP status counts as 500."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return _BY_STATUS[500]
    return ProblemType(status, phrase.lower().replace(" ", "-").replace("'", ""), phrase)


def problem_type_for_error(error: BaseException) -> ProblemType | None:
    """What the table says of one of our own exceptions; None for any other exception."""
    return next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), None)


def problem_document(
    kind: ProblemType,
    *,
    detail: str = "",
    errors: Sequence[Mapping[str, str]] = (),
    extra: Mapping[str, str] | None = None,
) -> bytes:
    """The document as JSON bytes. `errors` lists wrong fields as `{"field", "message"}`, `extra` more of `Problem`."""
    problem = Problem(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=_encodable(detail or kind.title),
        errors=[
            FieldProblem(field=_encodable(entry["field"]), message=_encodable(entry["message"])) for entry in errors
        ],
        **(extra or {}),
    )
    return msgspec.json.encode(problem)


def _encodable(text: str) -> str:
    """Without lone surrogates, which come from a URL or header that was no UTF-8."""
    return text.encode("utf-8", "replace").decode()
