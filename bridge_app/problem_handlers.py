"""Problem documents as Litestar answers: the exception handlers of the whole app.

In: any exception that left a route or the router. Out: an `application/problem+json` response, by the table in
`problems`. An exception that nobody expected is logged with its traceback and answered with a bare 500 document.
Never shows a traceback or an unexpected exception's text to the sender.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from bridge_app.problems import (
    MEDIA_TYPE,
    FieldError,
    ProblemType,
    UnavailableError,
    problem_document,
    problem_type_for_error,
    problem_type_for_status,
)
from otel_tracker.errors import CleanupRunningError, CursorError, PeriodTooLongError, StorageError

_logger = logging.getLogger(__name__)
# Litestar names a missing parameter in its text only.
_MISSING: Final = re.compile(r"Missing required \w+ parameter '([^']*)'")
# Litestar calls a sender that hangs up in its body an internal error, told apart by this text only.
_DISCONNECTED: Final = "client disconnected prematurely"

AnyRequest = Request[Any, Any, State]


def path_of(request: AnyRequest) -> str:
    """The decoded path. `request.url` would raise where the Host header names an impossible port."""
    return str(request.scope["path"])


def problem_response(
    kind: ProblemType,
    *,
    detail: str = "",
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """A Litestar response that carries the problem."""
    return Response(
        problem_document(kind, detail=detail, errors=errors, extra=extra),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def handle_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer any exception; the one handler behind every entry of `exception_handlers`."""
    own = problem_type_for_error(error)
    if own is not None:
        return _own_error(own, error)
    if isinstance(error, ValidationException):
        return _validation_error(error)
    if isinstance(error, InternalServerException) and error.detail == _DISCONNECTED:
        return problem_response(problem_type_for_status(400), detail="The connection ended before the body was whole.")
    if isinstance(error, HTTPException) and error.status_code != 500:
        return _http_error(request, error)
    _logger.error("%s %s failed unexpectedly", request.method, path_of(request), exc_info=error)
    return problem_response(
        problem_type_for_status(500),
        detail="An unexpected error occurred. It is in the server's log, with its traceback.",
    )


def status_of(error: Exception) -> int:
    """The HTTP status that `handle_exception` answers with, as far as the exception alone says it."""
    own = problem_type_for_error(error)
    if own is not None:
        return own.status
    return error.status_code if isinstance(error, HTTPException) else 500


def exception_handlers() -> dict[int | type[Exception], Callable[[AnyRequest, Exception], Response[bytes]]]:
    """What to pass to `Litestar(exception_handlers=...)`."""
    return {HTTPException: handle_exception, Exception: handle_exception}


def _http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    detail, headers = error.detail, {name.title(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"Nothing is served at {path_of(request)[:200]!r}. GET /schema shows what is."
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{request.method} is not supported here: use one of {headers['Allow']}."
    return problem_response(problem_type_for_status(error.status_code), detail=detail, headers=headers)


def _own_error(kind: ProblemType, error: Exception) -> Response[bytes]:
    if isinstance(error, FieldError):
        errors = [{"field": error.field, "message": error.detail}]
        return problem_response(kind, detail=f"{error.field}: {error.detail}", errors=errors)
    if isinstance(error, CursorError):
        return problem_response(kind, detail=str(error), errors=[{"field": "cursor", "message": str(error)}])
    if isinstance(error, PeriodTooLongError):
        return problem_response(kind, detail=str(error), errors=[{"field": "granularity", "message": str(error)}])
    if isinstance(error, CleanupRunningError):
        detail = "Another process is cleaning the history; it goes on by itself."
        return problem_response(kind, detail=detail, headers={"Retry-After": str(error.seconds)})
    if isinstance(error, StorageError):
        # Its text may name hosts, users and paths: that is for the operator, not for the sender.
        _logger.warning("storage did not answer: %s", error)
        return problem_response(kind, detail="The execution store cannot serve now.", headers={"Retry-After": "5"})
    headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, UnavailableError) else None
    return problem_response(kind, detail=str(error), headers=headers)


def _validation_error(error: ValidationException) -> Response[bytes]:
    errors = [
        {"field": str(entry.get("key", "")), "message": str(entry.get("message", ""))}
        for entry in (error.extra if isinstance(error.extra, list) else [])
        if isinstance(entry, Mapping)
    ]
    missing = _MISSING.search(error.detail)
    if not errors and missing is not None:
        errors = [{"field": missing[1], "message": "this parameter is required"}]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return problem_response(problem_type_for_status(422), detail=detail or error.detail, errors=errors)
