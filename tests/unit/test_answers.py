"""What a backend's answer means."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc  # type: ignore[import-untyped]
import pytest

from exporters.otlp.answers import MAX_RETRY_AFTER_SECONDS, Verdict, of_code, of_status, retry_after_seconds

NOW = datetime(2025, 6, 6, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", range(300, 600))
def test_only_what_the_specification_names_is_tried_again(status: int) -> None:
    verdict = of_status(status, text="", retry_after=None, now=NOW).verdict
    assert (verdict is Verdict.RETRY) == (status in {429, 502, 503, 504})
    assert (verdict is Verdict.SPLIT) == (status in {400, 413, 422})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999999999", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 06 Jun 2025 14:01:00 GMT", 60.0),
        ("Fri, 06 Jun 2025 13:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds


def test_grpc_codes_are_those_of_the_table() -> None:
    again = {
        code.name
        for code in grpc.StatusCode
        if of_code(code.name, text="", retry_after_seconds=None).verdict is Verdict.RETRY
    }
    assert again == {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
    assert of_code("RESOURCE_EXHAUSTED", text="", retry_after_seconds=1.5).retry_after_seconds == 1.5
