"""Source text → a loaded plugin that can be called. Runs in a worker process, or in a thread of the server.

In: a plugin's name, path and source; an `Event`. Out: the handler's return value, or its exception as it is. The
source is given, never read here: an older version goes on being served while the file on disk is broken.
Standard library only.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge_app.plugins.contract import METHODS, BasePlugin, Event, handled_methods

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_directories: list[str] = []
"""The plugin folders that something was loaded from, the latest first."""


class NotAPluginError(Exception):
    """The file imports, and has neither form of a plugin in it."""


@dataclass(frozen=True)
class LoadedPlugin:
    """An imported version. `plugin_class` or `function`, never both."""

    name: str
    key: str
    methods: tuple[str, ...]
    doc: str
    plugin_class: type[BasePlugin] | None
    function: Callable[[Event], Any] | None

    def call(self, event: Event, *, wait: Callable[[Awaitable[Any]], Any]) -> Any:
        """The answer to `event`; `wait` runs a coroutine to its end. Raises whatever the plugin raises."""
        if self.plugin_class is None:
            assert self.function is not None  # noqa: S101 - the type's invariant, for the type checker
            return _settled(self.function(event), wait)
        instance = self.plugin_class(event.data, logger=event.logger, http_method=event.method)
        instance.event = event
        answer = _settled(instance.run(), wait)
        return instance.get_result() if answer is None else answer


def _settled(answer: Any, wait: Callable[[Awaitable[Any]], Any]) -> Any:
    return wait(answer) if inspect.isawaitable(answer) else answer


def install_aliases() -> None:
    """Make `from webhook_bridge.plugin import BasePlugin` resolve to ours."""
    ours = importlib.import_module("bridge_app.plugin")
    package = types.ModuleType("webhook_bridge", "Alias of the plugin contract of bridge_app.")
    package.__path__ = []
    package.plugin = ours  # type: ignore[attr-defined]
    sys.modules.setdefault("webhook_bridge", package)
    sys.modules.setdefault("webhook_bridge.plugin", ours)


def load(name: str, *, key: str, path: str, source: bytes) -> LoadedPlugin:
    """Execute `source` as a new module. Raises what the module raises, SyntaxError, or `NotAPluginError`."""
    # Python matches bytecode by the second of the source: a helper edited twice in one would run as it was at first.
    sys.dont_write_bytecode = True
    _put_first(str(Path(path).parent))
    _forget_helpers()
    module = types.ModuleType(f"webhook_plugins.{name}")
    module.__file__ = path
    # Tracebacks show the lines that ran, even after the file has changed: None as the time keeps them unchecked.
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[path] = (len(source), None, lines, path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - running it is the purpose
        return _describe(module, name=name, key=key)
    except BaseException:
        sys.modules.pop(module.__name__)
        if before is not None:
            sys.modules[module.__name__] = before
        raise


def _put_first(directory: str) -> None:
    """Search this plugin folder before the others, and all of them after Python's own paths."""
    if directory in _directories:
        _directories.remove(directory)
    _directories.insert(0, directory)
    sys.path[:] = [entry for entry in sys.path if entry not in _directories] + _directories


def _forget_helpers() -> None:
    """Let a version import its helper modules anew: they may have changed, or be another folder's of the same name."""
    prefixes = tuple(f"{directory}/" for directory in _directories)
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        is_helper = isinstance(origin, str) and origin.startswith(prefixes) and "/site-packages/" not in origin
        if is_helper and not name.startswith(("webhook_plugins.", "bridge_app")):
            del sys.modules[name]
    importlib.invalidate_caches()


def _describe(module: types.ModuleType, *, name: str, key: str) -> LoadedPlugin:
    doc = inspect.cleandoc(module.__doc__ or "")
    plugin_class = _plugin_class(module)
    if plugin_class is not None:
        methods = handled_methods(plugin_class)
        if not methods:
            raise NotAPluginError(f"{plugin_class.__name__} handles nothing: write handle(self), or get, post, …")
        return LoadedPlugin(name, key, methods, doc or _own_doc(plugin_class), plugin_class, None)
    function = getattr(module, "handle", None)
    if callable(function):
        return LoadedPlugin(name, key, METHODS, doc or inspect.getdoc(function) or "", None, function)
    raise NotAPluginError(
        f"{module.__file__} has neither `class Plugin(BasePlugin)` nor `def handle(event)`; "
        "a helper module is left alone when its file name starts with an underscore",
    )


def _own_doc(plugin_class: type) -> str:
    return inspect.cleandoc(plugin_class.__dict__.get("__doc__") or "")


def _plugin_class(module: types.ModuleType) -> type[BasePlugin] | None:
    named = getattr(module, "Plugin", None)
    if isinstance(named, type):
        if not issubclass(named, BasePlugin):
            raise NotAPluginError(
                f"class Plugin of {module.__file__} is no BasePlugin: write `from bridge_app.plugin import BasePlugin` "
                "and `class Plugin(BasePlugin)`"
            )
        return named
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, BasePlugin) and value.__module__ == module.__name__:
            return value
    return None
