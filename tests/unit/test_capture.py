"""Any value becomes bounded JSON text."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import json
import pathlib
import time
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_tracker.capture import Captured, capture, capture_json
from otel_tracker.redaction import Redactor

REDACTOR = Redactor()


def text_of(value: Any, max_bytes: int = 1 << 20) -> str:
    return capture(value, max_bytes=max_bytes, redactor=REDACTOR).text


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    password: str = "p"


class Pair(msgspec.Struct):
    left: Any
    right: Any = None


class Hostile:
    def __repr__(self) -> str:
        raise SystemExit

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError


class HostileDict(dict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError

    def items(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 1.5, None, True, "é"]}, '{"a":[1,1.5,null,true,"é"]}'),
        ([float("nan"), float("inf"), -float("inf")], '["NaN","Infinity","-Infinity"]'),
        ("a\x00b\ud800", '"a\ufffdb\ufffd"'),
        ({"a\x00": "\\u0000"}, '{"a\ufffd":"\\\\u0000"}'),
        (Point(1), '{"x":1,"password":"[redacted]"}'),
        (Pair({1}, ("t",)), '{"left":[1],"right":["t"]}'),
        (Colour.RED, '"red"'),
        (dt.datetime(2025, 6, 6, 1, 2, 3, tzinfo=dt.UTC), '"2025-06-06T01:02:03+00:00"'),
        (dt.timedelta(seconds=1.5), "1.5"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (pathlib.Path("/tmp/x"), '"/tmp/x"'),  # noqa: S108 - a value, not a file
        (b"hi", '"hi"'),
        (b"\xff\x00", '{"$bytes":"/wA="}'),
        ({"b", "a"}, '["a","b"]'),
        ({1: "a", None: "b", 2.5: "c"}, '{"1":"a","null":"b","2.5":"c"}'),
        (ValueError("no"), '{"type":"ValueError","message":"no"}'),
        (2**70, "1180591620717411303424"),
        (Hostile(), '"[unprintable Hostile]"'),
        ({"h": HostileDict(a=1)}, '{"h":{"a":1}}'),
        (b'{"token":1}', '"{\\"token\\":\\"[redacted]\\"}"'),
    ],
    ids=lambda _: "",
)
def test_values_are_written_in_their_one_way(value: Any, expected: str) -> None:
    assert text_of(value) == expected
    json.loads(expected)


def test_a_circle_is_named() -> None:
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    assert text_of(value) == '{"a":1,"self":["[circular]"]}'


def test_depth_past_64_is_named_and_still_json() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    text = text_of(value)
    assert "[too deep]" in text
    json.loads(text)
    while value != 1:  # taken apart by hand: the interpreter frees such a chain by recursion
        value = value[0]


def test_a_secret_is_hidden_and_the_original_stays() -> None:
    value = {"token": "x", "n": [{"apiKey": 1}]}
    captured = capture(value, max_bytes=1024, redactor=REDACTOR)
    assert captured == Captured('{"token":"[redacted]","n":[{"apiKey":"[redacted]"}]}', 52, redacted=True)
    assert value == {"token": "x", "n": [{"apiKey": 1}]}


def test_what_is_too_large_is_cut_to_valid_json_within_the_limit() -> None:
    value = {"a": '"é' * 5000}
    full = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    captured = capture(value, max_bytes=256, redactor=REDACTOR)
    notice = json.loads(captured.text)
    assert len(captured.text.encode()) <= 256
    assert (captured.truncated, captured.size, captured.sha256) == (True, len(full), hashlib.sha256(full).hexdigest())
    assert notice["truncated"] is True
    assert (notice["size"], notice["sha256"]) == (captured.size, captured.sha256)
    assert full.decode().startswith(notice["preview"])


def test_a_hundred_megabytes_cost_no_seconds() -> None:
    value = ["x" * 100_000_000, b"\xff" * 100_000_000, list(range(1_000_000))]
    before = time.perf_counter()
    captured = capture(value, max_bytes=1 << 20, redactor=REDACTOR)
    assert time.perf_counter() - before < 2
    assert captured.truncated
    assert len(captured.text.encode()) <= 1 << 20


def test_json_bytes_are_kept_as_spelled() -> None:
    raw = b'{ "a" : 1.50, "t": "x:y" }'
    assert capture_json(raw, json.loads(raw), max_bytes=1024, redactor=REDACTOR).text == raw.decode()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a":{"token":"x"},"a":1}', '{"a":1}'),
        (b'{"token":"x"}', '{"token":"[redacted]"}'),
        (b'{"a":{"token":"x"},"a":"\\u003a\\u003a"}', '{"a":"::"}'),
        (b'{"a":"{\\"token\\":1}"}', '{"a":"{\\"token\\":\\"[redacted]\\"}"}'),
        (b'{"a":"\\u0000"}', '{"a":"\ufffd"}'),
        (b'{"u":"http:\\/\\/a:b@h"}', '{"u":"http://a:[redacted]@h"}'),
    ],
)
def test_json_bytes_that_would_leak_are_written_anew(raw: bytes, expected: str) -> None:
    assert capture_json(raw, json.loads(raw), max_bytes=1024, redactor=REDACTOR).text == expected


def test_an_extra_key_path_is_hidden() -> None:
    assert capture({"a": {"b": 1}}, max_bytes=256, redactor=Redactor(["a.b"])).text == '{"a":{"b":"[redacted]"}}'


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.builds(Pair, inner),
    max_leaves=20,
)


@settings(max_examples=60)
@given(ANY)
def test_every_value_becomes_storable_json_within_the_limit(value: Any) -> None:
    captured = capture(value, max_bytes=256, redactor=REDACTOR)
    assert len(captured.text.encode()) <= 256
    assert "\x00" not in captured.text
    json.loads(captured.text)
