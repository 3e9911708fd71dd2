"""Fixtures that several kinds of tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bridge_process import BridgeProcess
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile("no-clock", deadline=None)  # how long an example takes depends on the machine
settings.load_profile("no-clock")


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    """A bridge that is not started yet."""
    process = BridgeProcess(tmp_path)
    yield process
    process.close()
