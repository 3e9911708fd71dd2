"""docs/metrics.md prints the table of instruments, and their names are as OpenTelemetry wants them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge_app.instruments import INSTRUMENTS, Instrument, markdown

TEXT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
REGENERATE = ".venv/bin/python -c \"from bridge_app.instruments import markdown; print(markdown(), end='')\""


def test_the_table_is_in_the_docs() -> None:
    assert markdown() in TEXT, f"put there what this prints: {REGENERATE}"


@pytest.mark.parametrize("one", INSTRUMENTS, ids=lambda one: one.name)
def test_names_are_opentelemetrys(one: Instrument) -> None:
    """Lower case with dots, the unit apart, and no `_total`, which Prometheus adds."""
    assert re.fullmatch(r"(webhook_bridge|otel\.sdk)(\.[a-z][a-z_]*)+", one.name)
    assert not one.name.endswith(("total", "seconds", "bytes"))
    assert re.fullmatch(r"|s|By|\{[a-z]+\}", one.unit)


def test_no_name_is_there_twice() -> None:
    assert len({one.name for one in INSTRUMENTS}) == len(INSTRUMENTS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bwebhook_bridge_[a-z_]+|\botel_sdk_[a-z_]+", TEXT))))
def test_each_name_that_prometheus_is_said_to_see_is_one_of_an_instrument(name: str) -> None:
    bare = re.sub(r"(_seconds|_bytes)?(_total|_bucket|_sum|_count)?$", "", name)
    dotted = {one.replace(".", "_") for one in re.findall(r"^\| `([a-z_.]+)`", TEXT, re.MULTILINE)}
    assert bare in dotted
