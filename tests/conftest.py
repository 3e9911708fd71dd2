"""Fixtures that several kinds of tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bridge_process import BridgeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    """A bridge that is not started yet."""
    process = BridgeProcess(tmp_path)
    yield process
    process.close()
