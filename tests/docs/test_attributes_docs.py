"""The table of attributes, OpenTelemetry's own names, the code and docs/attributes.md say the same."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.semconv import _incubating, attributes

from otel_tracker import configure, conventions, track
from otel_tracker.conventions import ATTRIBUTES, markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

ROOT = Path(__file__).parents[2]
REGENERATE = """.venv/bin/python -c "from otel_tracker.conventions import markdown; print(markdown(), end='')" \
> docs/attributes.md"""
NAMES = {each.name for each in ATTRIBUTES}
RESOURCE = {"service.name"}
SOURCES = sorted(
    path for package in ("otel_tracker", "exporters", "bridge_app") for path in (ROOT / package).rglob("*.py")
)


def names_in(package: str) -> set[str]:
    """Every attribute name that a package of the semantic conventions defines."""
    found = set()
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        constants = vars(importlib.import_module(module.name)).items()
        found |= {value for name, value in constants if name.isupper() and isinstance(value, str)}
    return found


STABLE = names_in(attributes.__name__)
INCUBATING = names_in(f"{_incubating.__name__}.attributes")


@pytest.mark.parametrize("name", sorted(name for name in NAMES if not name.startswith("otel_tracker.")))
def test_what_is_not_ours_is_a_stable_name_of_opentelemetry(name: str) -> None:
    assert name in STABLE


def test_our_namespace_is_nobody_elses() -> None:
    assert {name for name in STABLE | INCUBATING if name.startswith("otel_tracker")} == set()


def test_each_name_has_one_row() -> None:
    constants = {value for name, value in vars(conventions).items() if name.isupper() and isinstance(value, str)}
    assert sorted(each.name for each in ATTRIBUTES) == sorted(constants)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_attributes_are_spelled_in_the_table_only(path: Path) -> None:
    """Code names them by constant, so what it writes is in the table."""
    known = STABLE | INCUBATING | NAMES
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    expected = NAMES if path.name == "conventions.py" else set()
    assert {text for text in texts if isinstance(text, str) and "." in text and text in known} - RESOURCE == expected


class Attributes:
    """Keeps the attribute names of running and of ended executions, and of child spans."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.ended: set[str] = set()

    def export(self, spans: Sequence[ReadableSpan], /) -> SpanExportResult:
        for span in spans:
            (self.running if span.end_time is None else self.ended).update(span.attributes or {})
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return timeout_millis > 0


def test_what_an_execution_carries_is_in_the_table_and_known_when_it_says() -> None:
    kept = Attributes()
    configured = configure(kept, shutdown_on_exit=False)
    with track("job", input=1, tags={"a": "b"}) as execution:
        execution.set_output(2)
        track(len)("text")
        configured.provider.get_tracer("shop").start_span("child").end()
    execution = configured.tracker.start("failing")
    execution.end(error=ValueError())
    configured.shutdown()
    assert kept.running - {each.name for each in ATTRIBUTES if each.at_start} == set()
    assert kept.ended - NAMES == set()


def test_the_docs_show_the_table() -> None:
    shown = (ROOT / "docs/attributes.md").read_text()
    assert shown == markdown(), f"docs/attributes.md is not the table; make it anew: {REGENERATE}"
