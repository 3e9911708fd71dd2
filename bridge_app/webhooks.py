"""The route that receives a delivery: bytes in, a plugin run as one execution, its answer out.

The execution's span is itself the SERVER span of the request. The answer carries `X-Execution-Id`, `X-Trace-Id` and, in
`X-Execution-Durable`, how safe the record already is: `disk`, `process` or `none`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.params import FromPath
from opentelemetry.trace import SpanKind

from bridge_app.bodies import BodyKind, parse_query
from bridge_app.child_spans import child_span
from bridge_app.deliveries import Delivery
from bridge_app.outcomes import OUTLIVED_THE_GRACE, UNTOLD, answer_of, captured_output, failure_of
from bridge_app.plugins.calls import Isolation, OutcomeKind
from bridge_app.problem_handlers import status_of
from bridge_app.problems import NotFoundError, UnavailableError
from bridge_app.trace_context import NOTHING as NO_CONTEXT
from bridge_app.trace_context import Policies, answer_headers, received, traceparent
from exporters.account import NOT_OPENED
from otel_tracker import conventions as names
from otel_tracker.capture import NOTHING, Captured, capture, capture_json
from otel_tracker.failsafe import failsafe
from otel_tracker.record import Status
from otel_tracker.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge_app.history import History
    from bridge_app.plugins.calls import Call, Outcome
    from bridge_app.plugins.runner import PluginRunner
    from bridge_app.trace_context import Received
    from exporters.spooled import Receipt
    from otel_tracker.execution import Execution, Failure
    from otel_tracker.tracking import Tracker

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ROUTE: Final = "/api/v1/webhook/{plugin}"


_CONTINUE: Final = Policies("continue")


class Bridge:
    """Runs deliveries: the join of runner, tracker and history."""

    def __init__(
        self,
        *,
        runner: PluginRunner,
        tracker: Tracker | None,
        history: History | None,
        durability: str,
        policies: Policies = _CONTINUE,
    ) -> None:
        self.runner = runner
        self.is_stopping = False
        self.rejected: dict[str, int] = {}
        """Deliveries that were refused before they became an execution, by reason."""
        self.answered: dict[int, int] = {}
        """Answers to deliveries, by status."""
        self._tracker = tracker
        self._history = history
        self._durability = durability
        self._policies = policies

    async def handle(self, delivery: Delivery) -> Response[bytes]:
        """Run the plugin, keep the record, answer."""
        execution = receipt = None
        caller = self._caller(delivery)
        try:
            execution = self._open(delivery, caller)
            if execution and execution.id and self._history:
                self._history.realtime.started(delivery.plugin)
                receipt = self._history.spooled.expect(execution.id)
        except BaseException as error:  # noqa: BLE001 - a fault of tracking must not reach the answer
            failsafe.caught("webhook.open", error)
        if self._history and not (execution and execution.id):
            self._history.spooled.account.drop(NOT_OPENED)
        try:
            on_span = partial(self._keep_span, execution.id) if execution and execution.id else None
            outcome = await self.runner.run(_call(delivery, execution, caller), on_span=on_span)
        except BaseException as error:
            if not (self.is_stopping and isinstance(error, asyncio.CancelledError)):
                if execution and execution.id:
                    self._close(execution, delivery, None, status_code=499, error=error)
                raise
            outcome = OUTLIVED_THE_GRACE  # the server cancels what is left: that has an answer and a record too
        response = answer_of(outcome, plugin=delivery.plugin)
        response.headers["X-Execution-Durable"] = "none"
        if execution and execution.id:
            status_code = int(response.status_code or HTTPStatus.OK)  # a plain number: other types cost a span more
            end = partial(self._close, execution, delivery, outcome, status_code=status_code)
            await self._finish(response, execution, end, receipt)
        return response

    def reject(self, reason: str) -> None:
        """Count a delivery that was refused before it became an execution."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def count(self, status: int) -> None:
        """Count an answer; a request that is cancelled gets none."""
        self.answered[status] = self.answered.get(status, 0) + 1

    async def _finish(
        self, response: Response[bytes], execution: Execution, end: Callable[[], None], receipt: Receipt | None
    ) -> None:
        """End the execution; say on the answer which record is its own, and how safe that is by now."""
        try:
            execution.stop_clock()
            response.headers.update({"X-Execution-Id": execution.id, "X-Trace-Id": execution.trace_id})
            if execution.span is not None:
                response.headers.update(answer_headers(execution.span.get_span_context()))
            if receipt is not None and self._history:
                begun = time.perf_counter_ns()
                durable = await self._history.answers.keep(end, receipt, wanted=self._durability)
                response.headers["X-Execution-Durable"] = durable
                self._history.realtime.kept(time.perf_counter_ns() - begun)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a fault of tracking must not reach the answer
            failsafe.caught("webhook.finish", error)
        finally:
            self._end_at_last(execution, end)

    def _keep_span(self, execution_id: str, payload: bytes) -> None:
        """A span that the plugin ended in its worker, as its execution's child."""
        try:
            if self._history:
                self._history.spooled.export([child_span(payload, execution_id=execution_id)])
        except BaseException as error:  # noqa: BLE001 - a fault of tracking must not reach the answer
            failsafe.caught("webhook.span", error)

    def _end_at_last(self, execution: Execution, end: Callable[[], None]) -> None:
        try:
            if not execution.is_ended:  # where it did not come to that
                end()
        except BaseException as error:  # noqa: BLE001 - a fault of tracking must not reach the answer
            failsafe.caught("webhook.close", error)

    def _caller(self, delivery: Delivery) -> Received:
        try:
            return received(delivery.headers, self._policies.of(delivery.plugin))
        except BaseException as error:  # noqa: BLE001 - an execution in a trace of its own is better than none
            failsafe.caught("webhook.context", error)
            return NO_CONTEXT

    def _open(self, delivery: Delivery, caller: Received) -> Execution | None:
        if self._tracker is None:
            return None
        attributes = {
            names.HTTP_REQUEST_METHOD: delivery.method,
            names.HTTP_ROUTE: _ROUTE,
            names.URL_PATH: delivery.path,
            names.URL_SCHEME: delivery.scheme,
            names.CLIENT_ADDRESS: delivery.remote_ip,
            names.USER_AGENT_ORIGINAL: delivery.headers.get("user-agent", ""),
        }
        if delivery_id := delivery.delivery_id:
            attributes[names.DELIVERY_ID] = delivery_id
        captured: Captured | Callable[[], Captured] | None = None
        try:
            # A worker process gets a copy of the data, which is looked at later; in a thread a plugin may change it.
            late = self.runner.settings.isolation is Isolation.PROCESS
            captured = partial(self._captured_input, delivery) if late else self._captured_input(delivery)
        except BaseException as error:  # noqa: BLE001 - a record without its input is better than none
            failsafe.caught("webhook.input", error)
        execution = self._tracker.start(
            delivery.plugin,
            captured_input=captured,
            kind=SpanKind.SERVER,
            context=caller.context,
            attributes=attributes,
        )
        if caller.link is not None and execution.span is not None:
            execution.span.add_link(caller.link)
        return execution

    def _captured_input(self, delivery: Delivery) -> Captured:
        tracker = self._tracker
        if tracker is None or not tracker.settings.track_input:
            return NOTHING
        limit, redactor = tracker.settings.max_input_size, tracker.redactor
        if delivery.parsed.kind is BodyKind.JSON:
            return capture_json(delivery.body, delivery.parsed.data, max_bytes=limit, redactor=redactor)
        return capture(delivery.parsed.data, max_bytes=limit, redactor=redactor)

    def _close(
        self,
        execution: Execution,
        delivery: Delivery,
        outcome: Outcome | None,
        *,
        status_code: int,
        error: BaseException | None = None,
    ) -> None:
        attributes: dict[str, Any] = {names.HTTP_RESPONSE_STATUS_CODE: status_code}
        try:
            if execution.is_ended:
                return
            self._keep_headers(execution, delivery.headers)
            failure = self._told(execution, outcome, attributes) if outcome else None
            execution.end(error=error, failure=failure, attributes=attributes)
            if self._history:
                status = failure.status if failure else Status.CANCELED if error else Status.COMPLETED
                self._history.realtime.ended(
                    delivery.plugin,
                    status=status,
                    error_type=failure.error_type if failure else "canceled" if error else "",
                    queue=outcome.queue_ns if outcome else 0,
                    run=outcome.run_ns if outcome else 0,
                )
        except BaseException as problem:  # noqa: BLE001 - a fault of tracking must not reach the answer
            failsafe.caught("webhook.close", problem)

    def _keep_headers(self, execution: Execution, headers: dict[str, str]) -> None:
        """Into the metadata, which is redacted and bounded at the end; hidden here already, secrets cost less there."""
        try:
            if self._tracker and self._tracker.settings.track_input:
                verdicts = self._tracker.redactor.verdicts
                if not verdicts.innocent.issuperset(headers):
                    headers = {name: REDACTED if verdicts[name] else value for name, value in headers.items()}
                execution.set_metadata("headers", headers)
        except BaseException as problem:  # noqa: BLE001 - a record without its headers is better than none
            failsafe.caught("webhook.headers", problem)

    def _told(self, execution: Execution, outcome: Outcome, attributes: dict[str, Any]) -> Failure | None:
        """What the outcome tells of the execution: its logs, its output, and how it failed."""
        try:
            if outcome.dropped_spans:
                execution.set_metadata("spans_dropped", outcome.dropped_spans)
            if outcome.logs:
                attributes[names.LOGS] = outcome.logs
            if outcome.body and self._tracker and self._tracker.settings.track_output:
                execution.set_captured_output(captured_output(outcome.body, tracker=self._tracker))
            return failure_of(outcome)
        except BaseException as problem:  # noqa: BLE001 - a record without its output is better than none
            failsafe.caught("webhook.outcome", problem)
            return None if outcome.kind is OutcomeKind.COMPLETED else UNTOLD


def _call(delivery: Delivery, execution: Execution | None, caller: Received) -> Call:
    parent, state = _span_headers(execution) if execution else ("", "")
    return delivery.call(
        execution_id=execution.id if execution else "", traceparent=parent, tracestate=state, baggage=caller.baggage
    )


def _span_headers(execution: Execution) -> tuple[str, str]:
    """The execution's span as `traceparent` and `tracestate`, for what it calls. Empty where there is none."""
    try:
        if execution.span is None:
            return "", ""
        context = execution.span.get_span_context()
        return traceparent(context), context.trace_state.to_header() if context.trace_state else ""
    except BaseException as error:  # noqa: BLE001 - a fault of tracking must not reach the answer
        failsafe.caught("webhook.traceparent", error)
        return "", ""


@route("/webhook/{plugin:str}", http_method=METHODS, summary="Run a plugin", tags=["webhooks"])
async def receive(plugin: FromPath[str], request: Request[Any, Any, State], state: State) -> Response[bytes]:
    """Run the plugin with the body (or the query) as its data, and answer with its result as JSON."""
    bridge: Bridge = state["bridge"]
    try:
        response = await _received(plugin, request, bridge)
    except Exception as error:
        bridge.count(status_of(error))
        raise
    bridge.count(response.status_code or HTTPStatus.OK.value)
    return response


async def _received(plugin: str, request: Request[Any, Any, State], bridge: Bridge) -> Response[bytes]:
    if bridge.is_stopping:
        bridge.reject("stopping")
        raise UnavailableError("The bridge is stopping; send this delivery again in a moment.")
    registry = bridge.runner.registry
    if registry.get(plugin) is None and await registry.find(plugin) is None:
        bridge.reject("unknown_plugin")
        raise NotFoundError(f"There is no plugin {plugin!r}. GET /api/v1/plugins lists those there are.")
    body = await request.body()
    query = parse_query(request.scope["query_string"])
    try:
        delivery = Delivery.from_scope(request.scope, plugin=plugin, query=query, body=body)
    except Exception:
        bridge.reject("body")
        raise
    return await bridge.handle(delivery)
