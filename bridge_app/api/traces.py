"""`/api/v1/traces`: everything of a trace as a waterfall, or as a file that other tools import."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from litestar import Controller, Response, route
from litestar.datastructures import State
from litestar.params import PathParameter

from bridge_app.api import examples, trace_shapes
from bridge_app.api.executions import READ, history, json_response
from bridge_app.api.filter_parameters import one
from bridge_app.api.filters import known_value, trace_id_of
from bridge_app.api.openapi import answers
from bridge_app.api.otlp_file import groups_of_trace, otlp_response
from bridge_app.api.parameters import refuse_unknown_parameters
from bridge_app.api.waterfalls import trace
from bridge_app.problems import NotFoundError
from otel_tracker.query import ExecutionFilter, PageRequest, TraceRequest, TraceRows

FORMATS: Final = ("waterfall", "otlp")
Format = Annotated[str, one("What is answered: otlp is a file of OTLP JSON.", of=FORMATS)]
ExecutionId = Annotated[str, PathParameter(description="The execution's id, as in `X-Execution-Id`.")]
TraceId = Annotated[str, PathParameter(description="32 hexadecimal digits, as in `X-Trace-Id`.")]


def is_file(format_: str) -> bool:
    """Whether the file was asked for. Raises FieldError for an unknown format."""
    return known_value("format", format_, FORMATS) == "otlp"


class TracesController(Controller):
    """Traces over REST."""

    path = ""
    tags = ("traces",)
    before_request = staticmethod(refuse_unknown_parameters)

    @route(
        "/executions/{execution_id:str}/trace",
        http_method=READ,
        sync_to_thread=True,
        summary="One execution as a waterfall",
        responses=answers(trace_shapes.Trace, "Its spans", example=examples.TRACE, errors=(404, 422, 503)),
    )
    def get_execution_trace(
        self,
        state: State,
        execution_id: ExecutionId,
        format: Format = "waterfall",  # noqa: A002 - its public name
    ) -> Response[Any]:
        """The execution's own span and the child spans that are kept, with self time and critical path.

        Also of one that still runs: its own span so far, and the child spans that ended.
        """
        kept, as_file = history(state), is_file(format)
        record = kept.get(execution_id)
        if record is None:
            raise NotFoundError(f"There is no execution {execution_id[:80]!r}. It may be older than the retention.")
        if as_file:
            groups = [(record, kept.store.spans(execution_id))]
            return otlp_response(groups, resource=state["resource"], name=f"execution-{record.id}")
        rows = kept.store.trace(TraceRequest(execution_ids=(execution_id,)))
        shown = TraceRows(executions=[record], spans=rows.spans, is_whole=rows.is_whole)
        return json_response(trace(shown, templates=state["links"], now=time.time_ns()))

    @route(
        "/traces/{trace_id:str}",
        http_method=READ,
        sync_to_thread=True,
        summary="Everything of a trace as a waterfall",
        responses=answers(trace_shapes.Trace, "Its spans", example=examples.TRACE, errors=(404, 422, 503)),
    )
    def get_trace(
        self,
        state: State,
        trace_id: TraceId,
        format: Format = "waterfall",  # noqa: A002 - its public name
    ) -> Response[Any]:
        """Every execution of a trace with its child spans: what the history has of it.

        A waterfall has at most 1,000 executions and 10,000 child spans and says in `is_whole` whether these are all;
        the file has all.
        """
        store, wanted, as_file = history(state).store, trace_id_of("trace_id", trace_id), is_file(format)
        if as_file:
            any_of_it = PageRequest(
                filter=ExecutionFilter(trace_id=wanted), limit=1, with_payloads=False, with_total=False
            )
            if not store.page(any_of_it).executions:
                raise _no_trace(wanted)
            return otlp_response(groups_of_trace(store, wanted), resource=state["resource"], name=f"trace-{wanted}")
        rows = store.trace(TraceRequest(trace_ids=(wanted,)))
        if not rows.executions:
            raise _no_trace(wanted)
        return json_response(trace(rows, templates=state["links"], now=time.time_ns()))


def _no_trace(trace_id: str) -> NotFoundError:
    return NotFoundError(f"There is no execution of trace {trace_id!r}. It may be older than the retention.")
