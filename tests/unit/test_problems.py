"""Every error leaves as a problem document, and none tells more than it should."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from litestar import Litestar, Request, get, post
from litestar.exceptions import HTTPException, InternalServerException
from litestar.params import FromPath, FromQuery
from litestar.testing import TestClient

from bridge_app.problem_handlers import exception_handlers
from bridge_app.problems import (
    BodyError,
    FieldError,
    NotFoundError,
    PayloadTooLargeError,
    UnavailableError,
    UnsupportedBodyError,
    problem_document,
    problem_type_for_error,
    problem_type_for_status,
)
from otel_tracker.errors import CursorError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS: dict[str, Exception] = {
    "body": BodyError("not JSON"),
    "media": UnsupportedBodyError("image/png is not read"),
    "field": FieldError("status is 'done': expected completed", field="status"),
    "missing": NotFoundError("no execution 7"),
    "large": PayloadTooLargeError("9 bytes of 8"),
    "busy": UnavailableError("full", retry_after_seconds=7),
    "cursor": CursorError("not our cursor"),
    "store": StorageUnavailableError("db at secret-host"),
    "bug": RuntimeError("secret text"),
    "gone": InternalServerException("client disconnected prematurely"),
    "http": HTTPException(detail="teapot", status_code=418),
}


@get("/raise/{name:str}")
async def raise_it(name: FromPath[str]) -> None:
    raise ERRORS[name]


@get("/page")
async def page(limit: FromQuery[int], needed: FromQuery[str]) -> str:
    return f"{limit}{needed}"


@post("/body", request_max_body_size=8)
async def body(request: Request[Any, Any, Any]) -> int:
    return len(await request.body())


@pytest.fixture
def client() -> Iterator[TestClient[Any]]:
    app = Litestar([raise_it, page, body], exception_handlers=exception_handlers(), logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [("body", 400, "invalid-body"), ("media", 415, "unsupported-media-type"), ("field", 422, "invalid-parameter"),
     ("missing", 404, "not-found"), ("large", 413, "payload-too-large"), ("busy", 503, "unavailable"),
     ("cursor", 422, "invalid-parameter"), ("store", 503, "storage-unavailable"), ("bug", 500, "internal-error"),
     ("gone", 400, "bad-request"), ("http", 418, "im-a-teapot")],
)  # fmt: skip
def test_each_error_has_its_status_and_type(client: TestClient[Any], name: str, status: int, slug: str) -> None:
    answer = client.get(f"/raise/{name}")
    document = answer.json()
    assert (answer.status_code, document["status"], document["type"]) == (status, status, f"/problems/{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_wrong_field_is_named(client: TestClient[Any]) -> None:
    errors = client.get("/raise/field").json()["errors"]
    assert errors == [{"field": "status", "message": "status is 'done': expected completed"}]


def test_an_unavailable_answer_says_when_to_come_back(client: TestClient[Any]) -> None:
    assert client.get("/raise/busy").headers["retry-after"] == "7"


def test_a_wrong_query_parameter_is_422_with_the_field(client: TestClient[Any]) -> None:
    answer = client.get("/page?limit=x&needed=1")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["limit"]


def test_a_missing_query_parameter_is_422_with_the_field(client: TestClient[Any]) -> None:
    answer = client.get("/page?limit=1")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "needed", "message": "this parameter is required"}]


def test_an_unknown_path_is_404(client: TestClient[Any]) -> None:
    assert client.get("/nowhere").json()["type"] == "/problems/not-found"


def test_a_wrong_method_is_405_with_allow(client: TestClient[Any]) -> None:
    answer = client.post("/page")
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert "GET" in answer.headers["allow"]


def test_a_body_beyond_the_limit_is_413(client: TestClient[Any]) -> None:
    assert client.post("/body", content=b"123456789").json()["type"] == "/problems/payload-too-large"


def test_an_unexpected_error_is_logged_with_its_traceback(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/raise/bug")
    assert "secret text" in caplog.text


def test_a_sender_that_hangs_up_is_not_logged_as_a_failure(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/raise/gone")
    assert "failed unexpectedly" not in caplog.text


def test_an_unknown_exception_is_not_in_the_table() -> None:
    assert problem_type_for_error(ValueError("x")) is None


def test_an_impossible_status_counts_as_500() -> None:
    assert problem_type_for_status(999).status == 500


def test_a_lone_surrogate_does_not_break_the_document() -> None:
    assert json.loads(problem_document(problem_type_for_status(404), detail="a\ud800"))["detail"] == "a?"
