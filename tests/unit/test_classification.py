"""From an exception to its error type."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import pickle
import socket
import sqlite3
import urllib.error
from email.message import Message
from typing import Any

import httpx
import pytest

from otel_tracker.classification import ERROR_TYPES, class_names, classify, classify_names, format_error


class Hostile(Exception):  # noqa: N818 - a fault, not a name to copy
    def __str__(self) -> str:
        raise SystemExit

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class NotFoundError(Exception):
    pass


def http_error(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://x")
    return httpx.HTTPStatusError("x", request=request, response=httpx.Response(status, request=request))


def caused(outer: BaseException, cause: BaseException) -> BaseException:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (concurrent.futures.TimeoutError(), "timeout"),
        (httpx.ConnectTimeout("x"), "timeout"),
        (httpx.ConnectError("x"), "connection_error"),
        (ConnectionRefusedError(), "connection_error"),
        (socket.gaierror(), "connection_error"),
        (OSError(errno.EHOSTUNREACH, "x"), "connection_error"),
        (urllib.error.HTTPError("u", 404, "m", Message(), None), "not_found"),
        (urllib.error.URLError("x"), "connection_error"),
        (http_error(401), "unauthorized"),
        (http_error(403), "forbidden"),
        (http_error(429), "rate_limited"),
        (http_error(500), "upstream_error"),
        (PermissionError("not found"), "permission_denied"),
        (FileNotFoundError(), "not_found"),
        (NotFoundError(), "not_found"),
        (json.JSONDecodeError("x", "", 0), "validation_error"),
        (asyncio.CancelledError(), "canceled"),
        (SystemExit(404), "plugin_exited"),
        (MemoryError(), "memory_limit"),
        (ModuleNotFoundError("x"), "import_error"),
        (pickle.PicklingError(), "unserializable_result"),
        (sqlite3.OperationalError("x"), "database_error"),
        (caused(RuntimeError("x"), TimeoutError()), "timeout"),
        (ExceptionGroup("g", [RuntimeError("x"), ConnectionError()]), "connection_error"),
        (RuntimeError("user 7 not found"), "not_found"),
        (RuntimeError("the request timed out"), "timeout"),
        (RuntimeError("knot foundation, unforbiddened, timeouts=3"), "unknown_error"),
        (ValueError("x"), "validation_error"),
        (KeyError("timeout"), "unknown_error"),
        (Hostile(), "unknown_error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_its_type(error: BaseException, expected: str) -> None:
    assert classify(error) == expected
    assert expected in ERROR_TYPES


def test_a_suppressed_context_says_nothing() -> None:
    error = RuntimeError("x")
    error.__context__ = TimeoutError()
    assert classify(error) == "timeout"
    error.__suppress_context__ = True
    assert classify(error) == "unknown_error"


def test_a_circle_of_causes_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) == "unknown_error"
    assert "RuntimeError: a" in format_error(first)[1]


def test_names_from_another_process_classify_alike() -> None:
    assert classify_names(["httpx.ConnectTimeout", "httpx.TimeoutException"], "") == "timeout"
    assert classify_names([["RuntimeError"], ["builtins.PermissionError"]], "") == "permission_denied"
    assert classify_names(["RuntimeError"], "x not found") == "not_found"
    assert classify_names(["x.Odd"], "", http_status=403) == "forbidden"
    assert classify_names([], "") == "unknown_error"
    assert classify_names(class_names(caused(RuntimeError(), socket.gaierror())), "") == "connection_error"


def test_an_error_is_one_line_and_a_traceback() -> None:
    try:
        raise RuntimeError("a\nb\x00" + "x" * 1000)  # noqa: TRY301 - its frame is looked at
    except RuntimeError as error:
        line, trace = format_error(error)
    assert line.startswith("a b\ufffdxxx")
    assert len(line) == 500
    assert "in test_an_error_is_one_line_and_a_traceback" in trace
    assert 'raise RuntimeError("a' in trace


def test_an_empty_message_is_replaced_by_the_class() -> None:
    assert format_error(RuntimeError())[0] == "RuntimeError"
    assert format_error(KeyError("k"))[0] == "KeyError: 'k'"
    assert format_error(Hostile())[0] == "[unprintable]"


def test_a_deep_traceback_is_bounded() -> None:
    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
        raise ValueError("\ud800é" * 50_000)

    with pytest.raises(ValueError) as caught:
        down(500)
    trace = format_error(caught.value)[1]
    assert len(trace.encode()) <= 16 * 1024
    assert "frames]" in trace
