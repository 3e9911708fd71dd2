"""docs/library.md runs, its tables are true, and so are the examples in the docstrings of the two libraries."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from uuid import UUID

import pytest

import exporters
import otel_tracker
from otel_tracker.capture import capture
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.redaction import Redactor

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)
NAMES = {each.__name__: each for each in (HTTPStatus, datetime, timedelta, UUID, Decimal, PurePosixPath)} | {"UTC": UTC}
MODULES = sorted(
    module.name
    for package in (otel_tracker, exporters)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if ".migrations" not in module.name
)


def rows(title: str) -> list[tuple[str, str]]:
    """The first two cells of the table below a heading's line or text."""
    table = TEXT.split(title, 1)[1].split("| --- | --- |\n", 1)[1].split("\n\n", 1)[0]
    return [
        (line.split(" | ")[0].removeprefix("| "), line.split(" | ")[1].removesuffix(" |"))
        for line in table.splitlines()
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_each_example_runs_and_prints_what_it_shows(block: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stderr, ended.stdout.splitlines()) == ("", SHOWN.findall(block))


def test_track_brings_neither_a_database_nor_a_web_server() -> None:
    program = "import sys, otel_tracker, otel_tracker.testing; print({'sqlalchemy', 'litestar'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


@pytest.mark.parametrize(("value", "json"), rows("**Odd values**"))
def test_odd_values_are_written_as_the_table_says(value: str, json: str) -> None:
    given = eval(value.strip("`"), NAMES)  # noqa: S307 - our own page
    assert capture(given, max_bytes=1000, redactor=Redactor()).text == json.strip("`")


def test_the_table_of_error_types_is_the_closed_list() -> None:
    assert [name.strip("`") for name, _ in rows("## Error types")] == list(ERROR_TYPES)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
