"""Any bytes become data or a BodyError; nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_app.bodies import BodyKind, Parsed, headers_as_dict, nests_deeper_than, parse_body, parse_query
from bridge_app.problems import BodyError, UnsupportedBodyError

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"


def parse(body: bytes, content_type: str = "application/json") -> Parsed:
    return parse_body(body, content_type=content_type, query=[])


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.a+json; charset=UTF-8", FORM, ""])
def test_a_json_object_is_json_under_every_likely_content_type(content_type: str) -> None:
    assert parse(b' {"key": "value"}', content_type) == Parsed({"key": "value"}, BodyKind.JSON)


@pytest.mark.parametrize(
    "body",
    [b"{", b"NaN", b"[Infinity]", b"1e999", b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf\xef\xbb\xbf{}", b"[" * 200_000,
     b'{"a":1}x', b"\x00", b"1" * 5000, b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65],
)  # fmt: skip
def test_what_is_not_json_is_a_body_error(body: bytes) -> None:
    with pytest.raises(BodyError):
        parse(body)


@pytest.mark.parametrize(
    ("body", "half"),
    [
        (rb'{"a":"\ud800"}', r"\ud800 alone (byte 6)"),
        (rb'["\uD83D\ude00\uDE00"]', r"\uDE00 alone (byte 14)"),
        (rb'"\ud800\ud83d\ude00"', r"\ud800 alone (byte 1)"),
        (rb'"\\\udfff"', r"\udfff alone (byte 3)"),
        (b'\xef\xbb\xbf"\\ud800"', r"\ud800 alone (byte 4)"),
    ],
)
def test_half_a_surrogate_pair_is_named_with_what_to_do(body: bytes, half: str) -> None:
    with pytest.raises(BodyError) as raised:
        parse(body)
    assert str(raised.value) == (
        f"The JSON body holds {half}: it is half of a UTF-16 surrogate pair, no character. "
        r"Send both halves, such as \ud83d\ude00, or \ufffd in its place."
    )


@pytest.mark.parametrize("body", [rb'"\ud83d', rb'"\ud83d\ude', rb'["\\ud800", "\ud83d\ude00"', rb"{"])
def test_a_body_that_was_cut_is_not_called_half_a_pair(body: bytes) -> None:
    with pytest.raises(BodyError, match="truncated"):
        parse(body)


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse(b"\xef\xbb\xbf[1]").data == [1]


def test_sixty_four_levels_are_accepted() -> None:
    assert parse(b"[" * 64 + b"]" * 64).kind is BodyKind.JSON


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert parse(b'["' + b"[" * 500 + b'\\"[[["]').kind is BodyKind.JSON


def test_many_flat_brackets_do_not_count_as_depth() -> None:
    assert len(parse(b"[" + b"[]," * 500 + b"[]]").data) == 501


def test_the_depth_check_is_linear_for_unterminated_strings() -> None:
    """A megabyte of escaped quotes must not be scanned once per quote."""
    started = time.perf_counter()
    assert not nests_deeper_than(b"[]" * 65 + b'"' + b'\\"' * 500_000 + b"\\", limit=64)
    assert time.perf_counter() - started < 1.0


def test_repeated_form_fields_become_lists() -> None:
    assert parse(b"a=1&a=2&b=%C3%A9&c=", FORM) == Parsed({"a": ["1", "2"], "b": "é", "c": ""}, BodyKind.FORM)


def test_a_form_that_only_begins_like_json_is_a_form() -> None:
    assert parse(b"{a=1", FORM) == Parsed({"{a": "1"}, BodyKind.FORM)


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"&".join([b"a=1"] * 1001)])
def test_a_form_that_is_not_utf8_or_too_long_is_a_body_error(body: bytes) -> None:
    with pytest.raises(BodyError):
        parse(body, FORM)


def test_an_empty_body_gives_the_query() -> None:
    query = [("a", "1"), ("b", "2"), ("a", "3")]
    parsed = parse_body(b"", content_type="application/json", query=query)
    assert parsed == Parsed({"a": ["1", "3"], "b": "2"}, BodyKind.EMPTY)


def test_text_is_a_string() -> None:
    assert parse("grüß".encode(), "text/plain") == Parsed("grüß", BodyKind.TEXT)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain; charset=latin-1", "image/png"])
def test_an_unread_media_type_or_charset_is_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedBodyError):
        parse(b"x", content_type)


def test_multipart_gives_fields_and_files() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n\xff\x00\r\n--xyz--\r\n'
    )
    file = {"filename": "x.bin", "content_type": "application/octet-stream", "size": 2, "content_base64": "/wA="}
    assert parse(body, MULTIPART) == Parsed({"a": "1", "f": file}, BodyKind.MULTIPART)


@pytest.mark.parametrize("content_type", [MULTIPART, "multipart/form-data", 'multipart/form-data; boundary="\u00e9"'])
def test_broken_multipart_is_a_body_error(content_type: str) -> None:
    with pytest.raises(BodyError):
        parse(b"--xyz\r\nnonsense", content_type)


CONTENT_TYPES = ["application/json", FORM, MULTIPART, "text/plain", "", "multipart/form-data; boundary=--", ";;="]


@settings(max_examples=400)
@given(
    body=st.binary() | st.text(alphabet='[]{}",:\\u0dn1e-&=%+', max_size=300).map(str.encode)
    | st.binary().map(lambda raw: b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + raw + b"--xyz--"),
    content_type=st.sampled_from(CONTENT_TYPES) | st.text(max_size=40),
)  # fmt: skip
def test_any_bytes_are_data_or_a_body_error(body: bytes, content_type: str) -> None:
    try:
        parsed = parse(body, content_type)
    except BodyError:
        return
    assert isinstance(parsed, Parsed)


def test_a_query_keeps_blank_and_undecodable_values() -> None:
    assert parse_query(b"a=&b=%ff") == [("a", ""), ("b", "\ufffd")]


def test_repeated_headers_are_joined() -> None:
    assert headers_as_dict([(b"X-A", b"1"), (b"x-a", b"2")]) == {"x-a": "1, 2"}
