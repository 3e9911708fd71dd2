"""What an `Outcome` means: to the sender an answer, to the record a failure and an output.

In: how a call of a plugin ended. Out: the HTTP response, and the `Failure` and `Captured` that its execution ends with.
Pure functions: nothing here runs a plugin, sends or records anything. Where the outcome names no error type, it is
worked out from the classes of the exception and its text.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, assert_never

import msgspec
from litestar import Response

from bridge_app.plugins.calls import Outcome, OutcomeKind
from bridge_app.problem_handlers import problem_response
from bridge_app.problems import PLUGIN_BROKEN, PLUGIN_FAILED, problem_type_for_status
from otel_tracker.capture import Captured, capture, capture_json
from otel_tracker.classification import classify_names
from otel_tracker.execution import Failure
from otel_tracker.record import Status

if TYPE_CHECKING:
    from otel_tracker.tracking import Tracker

_NO_RETURN_CONTENT: Final = b"null"
_LATER: Final = {"Retry-After": "5"}
OUTLIVED_THE_GRACE: Final = Outcome(
    OutcomeKind.CANCELED, error="the bridge stopped before the plugin was done", error_type="interrupted"
)
"""Of a plugin that the bridge did not wait for when it stopped."""
UNTOLD: Final = Failure(status=Status.FAILED, error_type="unknown_error", message="why it failed could not be kept")
"""Of an outcome that could not be read."""


def answer_of(outcome: Outcome, *, plugin: str) -> Response[bytes]:
    """What the sender gets: the plugin's own result as JSON, or a problem document that says why there is none.

    >>> answer_of(Outcome(OutcomeKind.COMPLETED, body=b'{"paid": true}'), plugin="shop").content
    b'{"paid": true}'
    """
    headers = {}
    match outcome.kind:
        case OutcomeKind.COMPLETED:
            return Response(
                outcome.body or _NO_RETURN_CONTENT, media_type="application/json", status_code=HTTPStatus.OK
            )
        case OutcomeKind.TIMEOUT:
            kind = problem_type_for_status(504)
        case OutcomeKind.NOT_FOUND:
            kind = problem_type_for_status(404)
        case OutcomeKind.UNAVAILABLE:
            kind, headers = PLUGIN_BROKEN, _LATER
        case OutcomeKind.CANCELED | OutcomeKind.OVERLOADED:
            kind, headers = problem_type_for_status(503), _LATER
        case OutcomeKind.NOT_ALLOWED:
            kind, headers = problem_type_for_status(405), {"Allow": ", ".join(outcome.allowed) or "POST"}
        case OutcomeKind.FAILED if outcome.error_type == "unknown_error":
            kind = problem_type_for_status(500)  # the runner's own fault: of a plugin's, it does not say the type
        case OutcomeKind.FAILED:
            kind = PLUGIN_FAILED
        case _:
            assert_never(outcome.kind)
    error_type = outcome.error_type or classify_names(outcome.error_type_chain, outcome.error)
    detail = f"Plugin {plugin!r}: {outcome.error}"
    return problem_response(kind, detail=detail, headers=headers, extra={"error_type": error_type})


def failure_of(outcome: Outcome) -> Failure | None:
    """How the execution failed; None where it did not.

    >>> failure_of(Outcome(OutcomeKind.FAILED, error="no such order", error_type="not_found")).message
    'no such order'
    """
    match outcome.kind:
        case OutcomeKind.COMPLETED:
            return None
        case OutcomeKind.TIMEOUT:
            status = Status.TIMEOUT
        case OutcomeKind.CANCELED:
            status = Status.FAILED if outcome.error_type == "interrupted" else Status.CANCELED
        case (
            OutcomeKind.FAILED
            | OutcomeKind.UNAVAILABLE
            | OutcomeKind.NOT_ALLOWED
            | OutcomeKind.NOT_FOUND
            | OutcomeKind.OVERLOADED
        ):
            status = Status.FAILED
        case _:
            assert_never(outcome.kind)
    error_type = outcome.error_type or classify_names(outcome.error_type_chain, outcome.error)
    if error_type == "timeout":
        status = Status.TIMEOUT
    return Failure(status=status, error_type=error_type, message=outcome.error, traceback=outcome.traceback)


def captured_output(body: bytes, *, tracker: Tracker) -> Captured:
    """The outcome's body as the record keeps it: redacted where it is JSON, and bounded."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return capture(body, max_bytes=tracker.settings.max_output_size, redactor=tracker.redactor)
    return capture_json(body, parsed, max_bytes=tracker.settings.max_output_size, redactor=tracker.redactor)
