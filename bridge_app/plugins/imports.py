"""Tells when a module was imported for the first time, right after it ran. Standard library only.

In: names of modules, and whom to tell. A plugin that imports none of them pays nothing. The import itself is what it
was: the module keeps its own loader, and whatever the one who is told raises is only logged.
"""

from __future__ import annotations

import importlib.util
import logging
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_logger = logging.getLogger("webhook_bridge.tracing")


class ImportWatch(MetaPathFinder):
    """To be put first into `sys.meta_path`. Modules that are imported already are never told."""

    def __init__(self, names: Iterable[str], tell: Callable[[str], None]) -> None:
        self._names = set(names)
        self._tell = tell

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the interpreter's signature
        target: ModuleType | None = None,  # noqa: ARG002 - likewise
    ) -> ModuleSpec | None:
        """Where the module is, by whoever else knows it; None for all that nobody waits for."""
        if fullname not in self._names:
            return None
        self._names.discard(fullname)  # first, for the others are asked by the same way
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            self._names.add(fullname)  # not installed; somebody may put it there yet
        else:
            spec.loader = _TellingLoader(spec.loader, self._told)
        return spec

    def _told(self, name: str) -> None:
        try:
            self._tell(name)
        except Exception as error:  # noqa: BLE001 - what watches an import must not fail it
            _logger.warning("calls by %s are not traced: %r", name, error)


class _TellingLoader(Loader):
    def __init__(self, loader: Any, tell: Callable[[str], None]) -> None:
        self._loader = loader
        self._tell = tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._tell(module.__name__)
