"""The token guards everything that is not exactly a webhook or health path."""

from __future__ import annotations

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from bridge_app.auth import TokenMiddleware, guard, is_allowed, is_own_host

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


@pytest.mark.parametrize(
    "header",
    [b"localhost", b"localhost:8001", b"LOCALHOST:1", b"localhost.", b"127.0.0.1:8001", b"127.0.0.1", b"[::1]:8001",
     b"[::1]", b"192.0.2.7:80", b"bridge.local:8001", b"Bridge.Local", b"localhost:99999999"],
)  # fmt: skip
def test_localhost_addresses_and_the_configured_host_are_own_names(header: bytes) -> None:
    assert is_own_host(header, host="bridge.local")


@pytest.mark.parametrize(
    "header",
    [b"evil.example", b"evil.example:8001", b"localhost.evil.example", b"127.0.0.1.evil.example", b"1.2.3", b"0x7f.1",
     b"localhost@evil.example", b"", b":8001", b"localhost:x", b"[evil.example]", b"127.0.0.1:80:80", b"\xff",
     b"localhost evil", b"127.0.0.1, evil.example"],
)  # fmt: skip
def test_any_other_name_is_foreign(header: bytes) -> None:
    assert not is_own_host(header, host="127.0.0.1")


def test_without_a_token_a_foreign_host_is_421_but_for_what_is_open() -> None:
    app = guard(Litestar([hello], logging_config=None), token=None, host="127.0.0.1")
    with TestClient(app, base_url="http://evil.example:8001") as client:
        refused = client.get("/metrics")
        assert refused.status_code == 421
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/misdirected-request"
        assert refused.json()["detail"].startswith("Host is 'evil.example:8001': without auth.token only localhost,")
        assert client.get("/health").text == "hello"
        assert client.get("/metrics", headers={"Host": "localhost:8001"}).text == "hello"
        twice = [(b"host", b"localhost"), (b"host", b"evil.example")]
        assert client.get("/metrics", headers=twice).status_code == 421


def test_with_a_token_any_host_name_is_served() -> None:
    app = guard(Litestar([hello], logging_config=None), token="t", host="127.0.0.1")
    with TestClient(app, base_url="http://bridge.example") as client:
        assert client.get("/metrics", headers={"Authorization": "Bearer t"}).text == "hello"
        assert client.get("/metrics").status_code == 401
