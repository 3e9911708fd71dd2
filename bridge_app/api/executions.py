"""`/api/v1/executions`: the history, its statistics, its store. Only reads, and the cleanup that people ask for."""

from __future__ import annotations

import time
from typing import Annotated, Final

from litestar import Controller, Response, delete, get
from litestar.datastructures import State
from litestar.params import FromPath, QueryParameter

from bridge_app.api.filters import chosen_fields, execution_filter
from bridge_app.api.rendering import PAYLOAD_FIELDS, encode_json, execution_json, page_json, storage_json
from bridge_app.history import History
from bridge_app.problems import FieldError, NotFoundError
from otel_tracker.errors import CursorError
from otel_tracker.query import PageRequest, StatsRequest

_DAY: Final = 86_400_000_000_000
Days = Annotated[int, QueryParameter(ge=1, le=3650, description="How many days back")]
Many = Annotated[list[str] | None, QueryParameter(description="May be repeated, or a comma-separated list")]


def history(state: State) -> History:
    """The application's history."""
    found = state["history"]
    assert isinstance(found, History)  # noqa: S101 - narrows a type; cannot be false
    return found


def json_response(value: object, *, status_code: int = 200) -> Response[bytes]:
    """A JSON answer, encoded once."""
    return Response(encode_json(value), media_type="application/json", status_code=status_code)


class ExecutionsController(Controller):
    """The history over REST."""

    path = "/executions"
    tags = ("executions",)

    @get("/", sync_to_thread=True, summary="The history, newest first")
    def page(  # noqa: PLR0913 - each is a separate fact, named at the call
        self,
        state: State,
        limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Records on a page")] = 50,
        offset: Annotated[int, QueryParameter(ge=0, le=1_000_000_000, description="Records to leave out")] = 0,
        cursor: Annotated[str | None, QueryParameter(description="`next_cursor` of the page before")] = None,
        plugin: Many = None,
        status: Many = None,
        error_type: Many = None,
        trace_id: Annotated[str | None, QueryParameter(description="32 hexadecimal digits")] = None,
        delivery_id: Annotated[str | None, QueryParameter(description="The sender's id")] = None,
        start_time: Annotated[str | None, QueryParameter(description="RFC 3339; started at or after")] = None,
        end_time: Annotated[str | None, QueryParameter(description="RFC 3339; started before")] = None,
        tags: Annotated[list[str] | None, QueryParameter(description="name:value; may be repeated")] = None,
        fields: Annotated[str | None, QueryParameter(description="Only these fields, comma-separated")] = None,
    ) -> Response[bytes]:
        """A page of ExecutionRecords that match every filter."""
        chosen = chosen_fields(fields)
        request = PageRequest(
            filter=execution_filter(
                plugin=plugin,
                status=status,
                error_type=error_type,
                trace_id=trace_id,
                delivery_id=delivery_id,
                start_time=start_time,
                end_time=end_time,
                tags=tags,
            ),
            limit=limit,
            offset=offset,
            cursor=cursor or "",
            with_payloads=not chosen or not PAYLOAD_FIELDS.isdisjoint(chosen),
        )
        try:
            page = history(state).store.page(request)
        except CursorError as error:
            raise FieldError(str(error), field="cursor") from error
        return json_response(page_json(page, request, chosen))

    @get("/stats", sync_to_thread=True, summary="Counts and durations")
    def stats(self, state: State, days: Days = 7, plugin: str | None = None) -> Response[bytes]:
        """ExecutionStats of the last days, of all plugins or of one."""
        return json_response(history(state).store.stats(_period(days, plugin or "")))

    @get("/stats/{plugin:str}", sync_to_thread=True, summary="Counts and durations of one plugin")
    def plugin_stats(self, state: State, plugin: FromPath[str], days: Days = 7) -> Response[bytes]:
        """ExecutionStats of one plugin, and its realtime figures since the start of this process."""
        kept = history(state)
        figures = kept.store.stats(_period(days, plugin))
        return json_response({"plugin": plugin, "realtime": kept.realtime.of(plugin), **_asdict(figures)})

    @get("/storage/info", sync_to_thread=True, summary="The store itself")
    def storage(self, state: State) -> Response[bytes]:
        """Kind, place, size and bounds of the store, and what is on its way to it."""
        kept = history(state)
        return json_response({**storage_json(kept.store.info()), "spool": kept.spool_json()})

    @delete("/cleanup", sync_to_thread=True, status_code=200, summary="Delete what is older than the retention")
    def cleanup(self, state: State) -> Response[bytes]:
        """Run the retention now; running executions stay."""
        result = history(state).prune(now=time.time_ns())
        return json_response({"deleted": result.deleted, "freed_bytes": result.freed_bytes})

    @get("/{execution_id:str}", sync_to_thread=True, summary="One execution")
    def one(self, state: State, execution_id: FromPath[str]) -> Response[bytes]:
        """The whole record; also of an execution that ended a moment ago, or still runs."""
        record = history(state).get(execution_id)
        if record is None:
            raise NotFoundError(f"There is no execution {execution_id!r}. It may be older than the retention.")
        return json_response(execution_json(record))

    @get("/{execution_id:str}/spans", sync_to_thread=True, summary="What opened inside an execution")
    def spans(self, state: State, execution_id: FromPath[str]) -> Response[bytes]:
        """The stored child spans of an execution, by start time."""
        return json_response({"spans": [_asdict(span) for span in history(state).store.spans(execution_id)]})


def _period(days: int, plugin: str) -> StatsRequest:
    now = time.time_ns()
    return StatsRequest(started_from=(now // _DAY - days + 1) * _DAY, started_before=now + _DAY, plugin=plugin)


def _asdict(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__struct_fields__}  # type: ignore[attr-defined]
