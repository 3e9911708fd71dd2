"""Values as people read them."""

from __future__ import annotations

import pytest

from bridge_app.cli import text
from bridge_app.cli.spans import span_lines
from otel_tracker.record import SpanRecord


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0 µs"),
        (850_999, "850 µs"),
        (12_340_000, "12.3 ms"),
        (4_560_000_000, "4.56 s"),
        (200_000_000_000, "3 min 20 s"),
    ],
)
def test_a_duration_has_the_unit_that_fits(nanoseconds: int, shown: str) -> None:
    assert text.duration_text(nanoseconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (5 << 50, "5120.0 TiB")],
)
def test_a_size_has_the_unit_that_fits(size: int, shown: str) -> None:
    assert text.size_text(size) == shown


def test_control_characters_are_spelled_out_and_line_ends_stay() -> None:
    assert text.visible("a\tb\n\x1b[31m\x07\x9b\x7f é") == "a\tb\n\\x1b[31m\\x07\\x9b\\x7f é"


def test_a_cell_is_one_line() -> None:
    assert text.one_line(" a\n b\tc ") == "a b c"


def test_a_cut_value_is_shown_as_it_is() -> None:
    assert text.json_lines('{"a": "x…') == ['{"a": "x…']


def test_spans_stand_below_their_parents_in_the_order_of_their_start() -> None:
    spans = [span("c", "b", start=3), span("d", "unknown", start=2), span("b", "unknown", start=0)]
    assert span_lines(spans) == ["b  5.0 ms  +0 µs", "  c  5.0 ms  +3.0 ms", "d  5.0 ms  +2.0 ms"]


def test_spans_that_are_each_others_parents_are_shown_all_the_same() -> None:
    spans = [span("a", "b", start=0), span("b", "a", start=1)]
    assert span_lines(spans) == ["a  5.0 ms  +0 µs", "b  5.0 ms  +1.0 ms"]


def span(name: str, parent: str, *, start: int) -> SpanRecord:
    return SpanRecord(
        execution_id="e",
        trace_id="t",
        span_id=name,
        parent_span_id=parent,
        name=name,
        kind="internal",
        start_time=start * 1_000_000,
        end_time=(start + 5) * 1_000_000,
    )
