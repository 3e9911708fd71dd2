"""`/api/v1/executions`: the history, its statistics, its store. Only reads, and the cleanup that people ask for."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from litestar import Controller, Response, delete, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from bridge_app.accounting import Ledger
from bridge_app.api import examples, shapes
from bridge_app.api.export import Export, ExportFormat
from bridge_app.api.export.response import export_response
from bridge_app.api.filter_parameters import FILTER_DEPENDENCY, Fields, one, point_in_time
from bridge_app.api.filters import chosen_fields, known_value
from bridge_app.api.openapi import answers
from bridge_app.api.pages import page_response
from bridge_app.api.parameters import refuse_unknown_parameters
from bridge_app.api.periods import age, series_request, stats_request
from bridge_app.api.rendering import encode_json, execution, needs_payloads, plugin_stats, span, storage_state
from bridge_app.api.scans import Scans
from bridge_app.history import History
from bridge_app.problem_handlers import AnyRequest
from bridge_app.problems import FieldError, HistoryDisabledError, NotFoundError
from otel_tracker.query import ExecutionFilter, PageRequest, PruneResult
from otel_tracker.stats import ExecutionStats, TimeSeries

READ: Final = ("GET", "HEAD")
JSON: Final = "application/json"


Days = Annotated[int, QueryParameter(ge=1, le=3650, description="How many UTC days, today included.")]
ExecutionId = Annotated[str, PathParameter(description="The execution's id, as in `X-Execution-Id`.")]
PluginName = Annotated[str, PathParameter(description="A plugin's name; also of one that is gone.")]


def history(state: State) -> History:
    """The application's history; raises HistoryDisabledError where tracking is off."""
    found = state["history"]
    if found is None:
        raise HistoryDisabledError
    assert isinstance(found, History)  # noqa: S101 - narrows a type; cannot be false
    return found


def scans(state: State) -> Scans:
    """The application's turns at exports and searches."""
    found = state["scans"]
    assert isinstance(found, Scans)  # noqa: S101 - narrows a type; cannot be false
    return found


def json_response(value: object, *, status_code: int = 200) -> Response[bytes]:
    """A JSON answer, encoded once."""
    return Response(encode_json(value), media_type=JSON, status_code=status_code)


class ExecutionsController(Controller):
    """The history over REST."""

    path = "/executions"
    tags = ("executions",)
    before_request = staticmethod(refuse_unknown_parameters)
    dependencies = FILTER_DEPENDENCY

    @route(
        "/",
        http_method=READ,
        sync_to_thread=True,
        summary="The history, newest first",
        responses=answers(shapes.ExecutionPage, "A page", example=examples.PAGE, errors=(404, 422, 429, 503)),
    )
    def list_executions(
        self,
        state: State,
        *,
        limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Records on a page.")] = 50,
        offset: Annotated[int, QueryParameter(ge=0, le=1_000_000_000, description="Records to leave out.")] = 0,
        cursor: Annotated[str | None, one("`next_cursor` of the page before: goes on behind it.")] = None,
        chosen: NamedDependency[ExecutionFilter],
        fields: Fields = (),
    ) -> Response[Any]:
        """Records that match every filter.

        `offset` counts from the newest record, so it shifts while records arrive, and a deep one reads all that it
        leaves out; `cursor` does neither. A search for what no index knows (`q`, durations, two filters at once) looks
        at a bounded number of records a page and says in `scan_complete` whether it was done: `next_cursor` goes on.
        """
        for other, given in (("cursor", cursor), ("q", chosen.text)):
            if given and offset:
                raise FieldError(f"is given beside {other}: expected one of the two", field="offset")
        names = chosen_fields(fields)
        request = PageRequest(
            filter=chosen,
            limit=limit,
            offset=offset,
            cursor=cursor or "",
            with_payloads=needs_payloads(names),
        )
        store = history(state).store
        if chosen.text:
            return scans(state).during(lambda: page_response(store, request, names))
        return page_response(store, request, names)

    @route(
        "/export",
        http_method=READ,
        sync_to_thread=True,
        summary="The history as a file",
        responses=answers(str, "The file", media_type="text/csv", errors=(404, 422, 429, 501, 503)),
    )
    def export_executions(
        self,
        *,
        state: State,
        request: AnyRequest,
        format: Annotated[str, one("What the file holds.", of=tuple(ExportFormat))] = "csv",  # noqa: A002 - its public name
        compress: Annotated[str | None, one("Compress the file itself.", of=("gzip",))] = None,
        chosen: NamedDependency[ExecutionFilter],
        fields: Fields = (),
    ) -> Response[Any]:
        """Every record that matches every filter, newest first, made while it is sent.

        An answer that breaks off ends without its last chunk, and JSON without its closing bracket.
        """
        made = Export(
            chosen=chosen,
            fields=chosen_fields(fields),
            format=ExportFormat(known_value("format", format, tuple(ExportFormat))),
            as_gzip=known_value("compress", compress, ("gzip",)) == "gzip",
        )
        encodings = request.headers.get("accept-encoding", "")
        store = history(state).store
        return scans(state).during(lambda: export_response(store, made, accept_encoding=encodings, now=time.time_ns()))

    @route(
        "/stats",
        http_method=READ,
        sync_to_thread=True,
        summary="Counts and durations",
        responses=answers(ExecutionStats, "The figures", example=examples.STATS, errors=(404, 422, 503)),
    )
    def get_stats(
        self, state: State, days: Days = 7, plugin: Annotated[str | None, one("Only this plugin.")] = None
    ) -> Response[bytes]:
        """Of the executions that started in the last days, of all plugins or of one."""
        return json_response(history(state).store.stats(stats_request(days, plugin=plugin or "", now=time.time_ns())))

    @route(
        "/stats/{plugin:str}",
        http_method=READ,
        sync_to_thread=True,
        summary="Counts and durations of one plugin",
        responses=answers(shapes.PluginStats, "The figures", example=examples.PLUGIN_STATS, errors=(404, 422, 503)),
    )
    def get_plugin_stats(self, state: State, plugin: PluginName, days: Days = 7) -> Response[bytes]:
        """The same of one plugin, and its realtime figures since the start of this process."""
        kept = history(state)
        stats = kept.store.stats(stats_request(days, plugin=plugin, now=time.time_ns()))
        return json_response(plugin_stats(plugin, stats, kept.realtime.of(plugin)))

    @route(
        "/timeseries",
        http_method=READ,
        sync_to_thread=True,
        summary="Counts and durations over time",
        responses=answers(TimeSeries, "The points", example=examples.SERIES, errors=(404, 422, 503)),
    )
    def get_timeseries(
        self,
        state: State,
        granularity: Annotated[str, one("How long a point is.", "5m")] = "1h",
        start_time: Annotated[str | None, point_in_time("The first point holds it.", "-24h")] = None,
        end_time: Annotated[
            str | None, point_in_time("Started before; now by default.", "2025-06-07T00:00:00Z")
        ] = None,
        plugin: Annotated[str | None, one("Only this plugin.")] = None,
    ) -> Response[bytes]:
        """The same as points of equal length, without gaps, for charts; at most 2000 of them."""
        request = series_request(
            granularity=granularity, start_time=start_time, end_time=end_time, plugin=plugin or "", now=time.time_ns()
        )
        return json_response(history(state).store.series(request))

    @route(
        "/storage/info",
        http_method=READ,
        sync_to_thread=True,
        summary="The store itself",
        responses=answers(shapes.StorageState, "Its state", example=examples.STORAGE, errors=(404, 422, 503)),
    )
    def get_storage_info(self, state: State) -> Response[bytes]:
        """Kind, place, size, bounds and growth of the store, what is on its way to it, and what was dropped."""
        kept = history(state)
        ledger: Ledger = state["ledger"]
        return json_response(
            storage_state(
                kept.store.info(),
                kept.spool_json(),
                seen=kept.watch.seen,
                last_cleanup=kept.store.last_cleanup(),
                accounting=ledger.read(),
            )
        )

    @delete(
        "/cleanup",
        sync_to_thread=True,
        status_code=200,
        summary="Delete what the retention does not keep",
        responses=answers(PruneResult, "How much it was", example=examples.CLEANUP, errors=(404, 409, 422, 503)),
    )
    def clean_up(
        self,
        state: State,
        *,
        older_than: Annotated[str | None, one("Delete what is older, instead of what is configured.", "7d")] = None,
        dry_run: Annotated[bool, QueryParameter(description="Only count.")] = False,
    ) -> Response[bytes]:
        """Run the retention now, in small batches; running executions stay.

        The answer comes when it is done, which may take minutes. While another process cleans the same store it is 409.
        """
        seconds = None if older_than is None else age(older_than)
        cleaner = history(state).cleaner
        return json_response(cleaner.run(now=time.time_ns(), older_than_seconds=seconds, dry_run=dry_run))

    @route(
        "/{execution_id:str}",
        http_method=READ,
        sync_to_thread=True,
        summary="One execution",
        responses=answers(shapes.ExecutionRecord, "Its record", example=examples.EXECUTION, errors=(404, 422, 503)),
    )
    def get_execution(self, state: State, execution_id: ExecutionId) -> Response[bytes]:
        """The whole record; also of an execution that ended a moment ago, or still runs."""
        record = history(state).get(execution_id)
        if record is None:
            raise _no_execution(execution_id)
        return json_response(execution(record))

    @route(
        "/{execution_id:str}/spans",
        http_method=READ,
        sync_to_thread=True,
        summary="What opened inside an execution",
        responses=answers(shapes.SpanList, "Its spans", example=examples.SPANS, errors=(404, 422, 503)),
    )
    def list_spans(self, state: State, execution_id: ExecutionId) -> Response[bytes]:
        """The stored child spans of an execution, by start time: further attempts, and what the plugin opened."""
        kept = history(state)
        found = kept.store.spans(execution_id)
        if not found and kept.get(execution_id) is None:
            raise _no_execution(execution_id)
        return json_response(shapes.SpanList(spans=[span(one) for one in found]))


def _no_execution(execution_id: str) -> NotFoundError:
    return NotFoundError(f"There is no execution {execution_id[:80]!r}. It may be older than the retention.")
