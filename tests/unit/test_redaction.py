"""What is hidden by name, and what is not."""

from __future__ import annotations

import pytest

from otel_tracker.redaction import Redactor, is_secret_key


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(
    "key",
    words(
        "Authorization proxy-authorization cookie Set-Cookie password passwd pwd passphrase secret client_secret"
        " clientSecret"
        " token access_token refreshToken id_token api-key apikey X-API-Key private_key privateKey"
        " credentials sessionId"
        " card_number cvv connection_string dsn password_hash password2 dbPassword DB_PASSWORD"
        " accesstoken X-Gitlab-Token"
        " APIKey secretAccessKey JSESSIONID mysqlpassword tokens access_tokens auth csrf_token 密码"
    ),
)
def test_secret_keys_are_hidden(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    words(
        "tokens_used token_count author secretary keyboard max_tokens password_changed_at key name session_count"
        " x-hub-signature-256 Idempotency-Key nextPageToken has_password token_type public_key monkey passenger id"
        " authorization_url compass card number author_id"
    ),
)
def test_innocent_keys_stay(key: str) -> None:
    assert not is_secret_key(key)


def test_a_whole_subtree_is_replaced_and_the_original_stays() -> None:
    original = {"a": [{"token": {"deep": [1]}}, 2], "b": {"c": 1}}
    hidden, changed = Redactor().redact(original)
    assert (hidden, changed) == ({"a": [{"token": "[redacted]"}, 2], "b": {"c": 1}}, True)
    assert original == {"a": [{"token": {"deep": [1]}}, 2], "b": {"c": 1}}
    assert hidden["b"] is original["b"]


def test_a_value_without_secrets_comes_back_itself() -> None:
    value = {"a": [1, "x", None]}
    hidden, changed = Redactor().redact(value)
    assert hidden is value
    assert not changed


def test_extra_keys_are_names_in_any_spelling_and_paths_from_the_root() -> None:
    redactor = Redactor(["iban", "user.address", "orders.*.note"])
    value = {"IBAN": 1, "user": {"address": "x", "name": "y"}, "address": "z", "orders": [{"a": {"note": 1, "n": 2}}]}
    assert redactor.redact(value)[0] == {
        "IBAN": "[redacted]",
        "user": {"address": "[redacted]", "name": "y"},
        "address": "z",
        "orders": [{"a": {"note": "[redacted]", "n": 2}}],
    }


def test_json_inside_a_string_is_redacted() -> None:
    value = {"payload": '{"token": "x", "a": 1}', "text": "{not json"}
    assert Redactor().redact(value)[0] == {"payload": '{"token":"[redacted]","a":1}', "text": "{not json"}


def test_a_password_in_a_url_is_hidden() -> None:
    assert Redactor().redact(["see postgres://bob:pw@db/x ok", "mail a@b.c http://x"])[0] == [
        "see postgres://bob:[redacted]@db/x ok",
        "mail a@b.c http://x",
    ]


def test_url_parameters_are_hidden_by_name() -> None:
    url = "https://h/p?access%5Ftoken=1&a=2&api_key=3#token=4"
    assert Redactor().redact_url(url) == "https://h/p?access%5Ftoken=[redacted]&a=2&api_key=[redacted]#token=[redacted]"


def test_headers_become_text_with_secrets_hidden() -> None:
    raw = [(b"Authorization", b"Bearer x"), (b"X-Tag", b"a"), (b"x-tag", b"b"), (b"X-Hub-Signature-256", b"sha256=ab")]
    assert Redactor().redact_headers(raw) == {
        "authorization": "[redacted]",
        "x-tag": "a, b",
        "x-hub-signature-256": "sha256=ab",
    }
    assert Redactor().redact_headers({"Cookie": "a=b"}) == {"cookie": "[redacted]"}


def test_hostile_keys_cannot_grow_the_memory() -> None:
    redactor = Redactor()
    for number in range(20_000):
        redactor.redact({f"k{number}": 1})
    redactor.redact({"x" * 1_000_000: 1})
    assert len(redactor.verdicts) <= 8192
