"""A tracked function keeps its type: wrong calls are found by mypy as they were before."""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BAD = """
from otel_tracker import track

@track
def plain(a: int, *, b: str = "") -> int:
    return a

@track("named")
async def later(a: int) -> int:
    return a

class Shop:
    @track
    def order(self, item: str) -> str:
        return item

plain("text")
plain(1, c=2)
plain(1).upper()
task = later()
Shop().order(3)
with track("block") as execution:
    execution.nonsense
track(3)
"""


def test_the_typed_examples_run() -> None:
    good = runpy.run_path(str(ROOT / "tests/typing/track_keeps_signatures.py"))
    good["calls"](good["Shop"]())
    asyncio.run(good["awaits"](good["Shop"]()))
    good["functions"]()
    good["blocks"]()


def test_wrong_use_of_what_is_tracked_is_an_error(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(BAD)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-pretty", "--no-error-summary", sample],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"sample\.py:(\d+): error: .*\[([a-z-]+)\]", checked.stdout)
    assert [(BAD.splitlines()[int(line) - 1].strip(), code) for line, code in found] == [
        ('plain("text")', "arg-type"),
        ("plain(1, c=2)", "call-arg"),
        ("plain(1).upper()", "attr-defined"),
        ("task = later()", "call-arg"),
        ("Shop().order(3)", "arg-type"),
        ("execution.nonsense", "attr-defined"),
        ("track(3)", "call-overload"),
    ]
