"""docs/traces.md names every field and every bound, and its examples are of the shapes that are answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge_app import links
from bridge_app.api.jaeger.spans import SHOWN_CHARACTERS
from bridge_app.api.trace_shapes import CriticalSection, Trace, TraceSpan
from otel_tracker.query import TraceRequest

TEXT = (Path(__file__).parents[2] / "docs/traces.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
(EXAMPLE,) = (json.loads(body) for language, body in BLOCKS if language == "json")
LINKS, GRAFANA = (yaml.safe_load(body) for language, body in BLOCKS if language == "yaml")


def test_the_example_has_the_fields_of_a_trace() -> None:
    assert list(EXAMPLE) == list(Trace.__struct_fields__)
    assert all(list(section) == list(CriticalSection.__struct_fields__) for section in EXAMPLE["critical_path"])


def test_each_field_of_a_span_is_in_the_docs_and_vice_versa() -> None:
    sentence = re.search(r"^Each span also has (.+?)\. Durations", TEXT, re.MULTILINE | re.DOTALL)
    assert sentence is not None
    shown = set(EXAMPLE["spans"][0]) - {"…"}
    assert shown | set(re.findall(r"`(\w+)`", sentence[1])) == set(TraceSpan.__struct_fields__)


def test_the_examples_times_add_up() -> None:
    spans: list[dict[str, Any]] = EXAMPLE["spans"]
    assert sum(span["self_time"] for span in spans) == EXAMPLE["duration"]
    for span in spans:
        on_path = [one["duration"] for one in EXAMPLE["critical_path"] if one["span_id"] == span["span_id"]]
        assert sum(on_path) == span["critical_time"]


def test_the_bounds_are_in_the_docs() -> None:
    bounds = TraceRequest()
    assert f"at most {bounds.max_executions:,} executions, and {bounds.max_spans:,} child spans" in TEXT
    assert f"{bounds.max_span_bytes >> 20} MiB of them" in TEXT
    assert f"cut at {SHOWN_CHARACTERS:,} characters" in TEXT


@pytest.mark.parametrize("name", LINKS["links"])
def test_the_links_of_the_docs_are_taken(name: str) -> None:
    assert links.fault(LINKS["links"][name]) == ""


def test_each_placeholder_is_in_the_docs() -> None:
    assert all(f"`{{{name}}}`" in TEXT for name in links.PLACEHOLDERS)


def test_grafana_is_given_the_bridge_and_its_token() -> None:
    (source,) = GRAFANA["datasources"]
    assert (source["type"], source["url"]) == ("jaeger", "http://127.0.0.1:8001")
    assert source["secureJsonData"]["httpHeaderValue1"].startswith("Bearer ")
