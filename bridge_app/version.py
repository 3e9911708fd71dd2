"""The distribution's version, as installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("otel-webhook-bridge")
    except PackageNotFoundError:
        return "0+unknown"


VERSION: Final = _installed()
