"""A streamed answer, event by event: it ends with the last event where it is whole, and only there."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from litestar import Request

from bridge_app.api.streaming import ByteStream
from otel_tracker.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def answered(chunks: Iterator[bytes], *, method: str = "GET", gone_after: int | None = None) -> list[Any]:
    """The events of the answer to a client that goes away after so many of them, or never."""
    scope: Any = {"type": "http", "method": method}
    request: Request[Any, Any, Any] = Request(scope)
    response = ByteStream(chunks, media_type="text/csv").to_asgi_response(None, request)
    events: list[Any] = []
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        events.append(event)
        if len(events) == gone_after:
            gone.set()
        await asyncio.sleep(0)

    asyncio.run(response(scope, receive, send))
    return events


def bodies(events: list[Any]) -> list[bytes]:
    return [event["body"] for event in events[1:]]


def test_a_whole_answer_ends_with_the_last_event() -> None:
    events = answered(iter([b"a", b"", b"b"]))
    assert events[0]["status"] == 200
    assert (b"content-type", b"text/csv") in events[0]["headers"]
    assert b"content-length" not in dict(events[0]["headers"])
    assert bodies(events) == [b"a", b"b", b""]
    assert events[-1] == LAST


@pytest.mark.parametrize("error", [ValueError, StopAsyncIteration, StorageUnavailableError, UnicodeDecodeError])
def test_an_answer_that_fails_has_no_last_event(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """ValueError above all: Litestar's own stream takes it for the regular end."""
    raised = error("utf-8", b"", 0, 1, "bad") if error is UnicodeDecodeError else error("away")

    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise raised

    events = answered(chunks())
    assert (bodies(events), events[-1] == LAST) == ([b"a"], False)
    assert "an answer was broken off" in caplog.text


def test_a_store_that_fails_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise StorageUnavailableError("executions.db cannot serve now")

    answered(chunks())
    assert [(each.message, each.exc_info) for each in caplog.records] == [
        ("an answer was broken off: executions.db cannot serve now", None)
    ]


def test_nothing_is_made_for_a_client_that_is_gone() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"a"

    events = answered(chunks(), gone_after=3)
    assert events[-1] != LAST
    assert taken <= 4


def test_head_takes_no_step() -> None:
    chunks = iter([b"a"])
    events = answered(chunks, method="HEAD")
    assert (bodies(events), next(chunks)) == ([b""], b"a")
    assert (b"content-type", b"text/csv") in events[0]["headers"]


def test_steps_are_taken_in_threads() -> None:
    names: list[str] = []

    def chunks() -> Iterator[bytes]:
        names.append(threading.current_thread().name)
        yield b"a"

    answered(chunks())
    assert names != [threading.main_thread().name]
