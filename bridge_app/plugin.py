"""The import that plugin files use: `from bridge_app.plugin import BasePlugin`. Standard library only behind it."""

from __future__ import annotations

from bridge_app.plugins.contract import BasePlugin, Event

__all__ = ["BasePlugin", "Event"]
