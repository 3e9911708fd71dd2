"""Spans of other programs into the history: what `POST /v1/traces` does, and how it answers.

In: the bytes of an OTLP/HTTP request. Out: rows in the spool, and the answer that the protocol wants: an
`ExportTraceServiceResponse` in the encoding of the request once the rows are safe, else a `google.rpc.Status`. What is
answered 429 or 503 the sender keeps and sends again; rows that come twice are one. All work is done by one thread, so
that senders, however many, leave the event loop its share. Source: https://opentelemetry.io/docs/specs/otlp/.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from litestar import Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.otlp import decoding
from exporters.otlp.incoming import UnusableSpanError, messages_of, read
from exporters.otlp.joining import Joiner
from exporters.sql import encode_row
from otel_tracker.conventions import EXECUTION_ID, PLUGIN_NAME
from otel_tracker.errors import StorageError
from otel_tracker.query import ExecutionFilter, PageRequest
from otel_tracker.spans import given

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from opentelemetry.sdk.trace import ReadableSpan

    from bridge_app.history import History
    from exporters.otlp.given import Rules
    from exporters.otlp.incoming import Sent

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
MAX_WAITING: Final = 16
"""Requests that are worked on or wait for it; the next one is told to come again."""
_DURABLE_WITHIN_SECONDS: Final = 5.0
_BREATHE_EVERY: Final = 16
_WAITERS: Final = 4
_MAX_STORE_LOOKUPS: Final = 32
_RPC_CODES: Final = {400: 3, 404: 5, 413: 3, 415: 3, 429: 8, 500: 13, 503: 14}


class RefusedError(Exception):
    """A request that is not accepted; the text is for the sender."""

    def __init__(self, status: int, message: str, *, retry_after_seconds: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Accepted(NamedTuple):
    """What became of the spans of a request."""

    rejected: int
    message: str
    """Why; empty where none was."""
    last: int
    """The frame of the spool that must be safe before it is answered; 0 where there is none."""


class OtlpReceiver:
    """Takes the requests of all senders, in turn."""

    def __init__(
        self, history: History, *, rules: Rules, max_unpacked_bytes: int, max_held_spans: int, hold_seconds: float
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Spans by what became of them: execution, child, held, rejected, given_up."""
        self._history = history
        self._rules = rules
        self._max_unpacked_bytes = max_unpacked_bytes
        self._joiner = Joiner(self._find, max_held=max_held_spans, hold_seconds=hold_seconds)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otlp-in")
        self._disk = ThreadPoolExecutor(_WAITERS, thread_name_prefix="otlp-in-disk")
        self._waiting = 0

    async def receive(self, body: bytes, *, content_type: str, encoding: str) -> Response[bytes]:
        """Take a request; every refusal is an answer."""
        media_type = content_type.partition(";")[0].strip().lower()
        try:
            if media_type not in {PROTOBUF, JSON}:
                said = f"Content-Type is {media_type[:80]!r}: send {PROTOBUF} or {JSON}"
                raise RefusedError(415, said)  # noqa: TRY301 - every refusal has one way out
            accepted = await self._in_turn(lambda: self._take(body, encoding, is_json=media_type == JSON))
            await self._safe(accepted.last)
        except RefusedError as refused:
            return refusal(refused, media_type=media_type)
        answer = ExportTraceServiceResponse()
        if accepted.rejected or accepted.message:
            answer.partial_success.rejected_spans = accepted.rejected
            answer.partial_success.error_message = accepted.message
        return Response(_encoded(answer, media_type), status_code=200, media_type=media_type)

    def expire(self) -> None:
        """Give up spans that have waited too long; to be called now and then."""
        self._thread.submit(self._expire)

    def close(self) -> None:
        """What waits for its execution is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._disk.shutdown(wait=True, cancel_futures=True)

    async def _in_turn(self, work: Callable[[], Accepted]) -> Accepted:
        if self._waiting >= MAX_WAITING:
            raise RefusedError(429, f"{MAX_WAITING} requests are being worked on", retry_after_seconds=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:  # it was shut down
            raise RefusedError(503, "the bridge is stopping", retry_after_seconds=5) from error
        finally:
            self._waiting -= 1

    async def _safe(self, last: int) -> None:
        """Wait for the disk; the thread works on the next request meanwhile."""
        wait = self._history.spooled.spool.wait
        if not last:
            return
        is_safe = asyncio.get_running_loop().run_in_executor(
            self._disk, lambda: wait(last, timeout_seconds=_DURABLE_WITHIN_SECONDS)
        )
        if not await is_safe:
            raise RefusedError(503, "the disk of the spool is too slow now", retry_after_seconds=5)

    # --- the one thread

    def _expire(self) -> None:
        self._joiner.expire()
        self.counts["given_up"] = self._joiner.given_up

    def _take(self, body: bytes, encoding: str, *, is_json: bool) -> Accepted:
        try:
            unpacked = decoding.unpack(body, encoding=encoding, max_bytes=self._max_unpacked_bytes)
            request = decoding.from_json(unpacked) if is_json else decoding.from_protobuf(unpacked)
        except decoding.UnknownEncodingError as error:
            raise RefusedError(415, str(error)) from error
        except decoding.UnpackedTooLargeError as error:
            raise RefusedError(413, str(error)) from error
        except decoding.UndecodableError as error:
            raise RefusedError(400, str(error)) from error
        spans: list[Sent] = []
        reasons: list[str] = []
        for message, resource in messages_of(request):
            try:
                spans.append(read(message, resource, self._rules))
            except UnusableSpanError as error:
                reasons.append(f"span {message.name[:80]!r}: {error}")
            if len(spans) % _BREATHE_EVERY == 0:
                time.sleep(0)  # the event loop waits for the interpreter's lock
        joined = self._joiner.join(spans)
        last = self._keep(joined.rows)
        self.counts.update(held=joined.held, rejected=len(reasons) + joined.refused)
        self.counts["given_up"] = self._joiner.given_up
        if joined.refused:
            reasons.append(
                f"{joined.refused} spans belong to no execution that is known here, and too many wait for theirs "
                f"already (otlp_in.max_held_spans): set {EXECUTION_ID} or {PLUGIN_NAME} on a span of the trace"
            )
        return Accepted(len(reasons) - bool(joined.refused) + joined.refused, "; ".join(reasons[:5])[:2000], last)

    def _keep(self, rows: Sequence[Sent]) -> int:
        """Into the spool; the number of the last one there."""
        spooled = self._history.spooled
        last = 0
        for number, row in enumerate(rows):
            sequence = spooled.take(encode_row(row.row))
            if sequence is None:
                raise RefusedError(503, "the spool takes no more now: the store is away, or the disk is full",
                                   retry_after_seconds=5)  # fmt: skip
            last = max(last, sequence)
            self.counts["execution" if row.execution_id else "child"] += 1
            if number % _BREATHE_EVERY == 0:
                time.sleep(0)
        return last

    def _find(self, trace_ids: frozenset[str]) -> dict[str, str]:
        """Executions of these traces that began here: running, on their way to the store, or in it."""
        spooled = self._history.spooled
        found = {trace_id: record.id for trace_id, record in spooled.unsettled.of_traces(trace_ids).items()}
        for trace_id in trace_ids - found.keys():
            span = spooled.starting(lambda span, wanted=int(trace_id, 16): _trace_of(span) == wanted)  # type: ignore[misc]
            if span is not None:
                found[trace_id] = str(given(span)[EXECUTION_ID])
        for trace_id in sorted(trace_ids - found.keys())[:_MAX_STORE_LOOKUPS]:
            wanted = ExecutionFilter(trace_id=trace_id)
            try:
                page = self._history.store.page(
                    PageRequest(filter=wanted, limit=1, with_payloads=False, with_total=False)
                )
            except StorageError:
                break  # it is away: they wait
            if page.executions:
                found[trace_id] = page.executions[0].id
        return found


def refusal(refused: RefusedError, *, media_type: str) -> Response[bytes]:
    """The answer to a request that is not accepted: a `google.rpc.Status`."""
    status = Status(code=_RPC_CODES[refused.status], message=str(refused))
    headers = {"Retry-After": str(refused.retry_after_seconds)} if refused.retry_after_seconds else {}
    media_type = media_type if media_type == PROTOBUF else JSON
    return Response(_encoded(status, media_type), status_code=refused.status, media_type=media_type, headers=headers)


def _encoded(message: Message, media_type: str) -> bytes:
    if media_type == PROTOBUF:
        return message.SerializeToString()
    return MessageToJson(message, indent=None).encode()


def _trace_of(span: ReadableSpan) -> int:
    return span.context.trace_id if span.context else 0
