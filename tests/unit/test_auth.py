"""The token guards everything that is not exactly a webhook or health path."""

from __future__ import annotations

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from bridge_app.auth import TokenMiddleware, is_allowed

TOKEN = "s3crét"


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/live", "/health/ready", "/health/", "/api/v1/webhook/github", "/api/latest/webhook/a-b_C9"],
)
def test_webhooks_and_health_are_open(path: str) -> None:
    assert is_allowed(path, authorization=None, token=TOKEN)


@pytest.mark.parametrize(
    "path",
    ["/", "", "/metrics", "/api/v1/executions", "//health", "/./health", "/Health", "/health/../metrics", "/healthz",
     "/api/v1/webhook/", "/api/v1/webhook/..", "/api/v1/webhook/../", "/api/v1/webhook/../executions",
     "/api/v1/webhook/./x", "/api/v1/webhook//x", "/api/v1/webhook/%2e%2e", "/api/v1/webhook/a/b", "/health\n",
     "/API/v1/webhook/a", "/api/v2/webhook/a", "/api/v1/webhook/a\\..\\b", "x/health", "/health/live/x"],
)  # fmt: skip
def test_every_other_spelling_wants_the_token(path: str) -> None:
    assert not is_allowed(path, authorization=None, token=TOKEN)
    assert is_allowed(path, authorization=f"Bearer {TOKEN}".encode(), token=TOKEN)


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Basic s3cr\xc3\xa9t", b"s3cr\xc3\xa9t", b"Bearer s3cr\xe9t",
     b"Bearer s3cr\xc3\xa9t x", b"\xff\xfe"],
)  # fmt: skip
def test_wrong_credentials_are_refused(authorization: bytes) -> None:
    assert not is_allowed("/metrics", authorization=authorization, token=TOKEN)


def test_the_scheme_is_read_in_any_case() -> None:
    assert is_allowed("/metrics", authorization=b"bearer abc", token="abc")


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_everything_is_open(token: str | None) -> None:
    assert is_allowed("/metrics", authorization=None, token=token)


@get(["/metrics", "/health"])
async def hello() -> str:
    return "hello"


def test_the_middleware_answers_401_with_a_challenge() -> None:
    guarded = TokenMiddleware(Litestar([hello], logging_config=None), token=TOKEN)
    with TestClient(guarded) as client:
        refused = client.get("/metrics")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="webhook-bridge"'
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/unauthorized"
        assert client.get("/health").text == "hello"
        authorization = f"Bearer {TOKEN}".encode()
        assert client.get("/metrics", headers=[(b"authorization", authorization)]).text == "hello"
        assert client.get("/metrics", headers=[(b"authorization", authorization)] * 2).status_code == 401
