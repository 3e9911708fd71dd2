"""Lists the plugin files of the plugin folders, and says what is odd about them. It imports and executes nothing.

A plugin is `NAME.py` directly in a folder; its name matches `NAME_PATTERN`. Other Python files (`_helper.py`,
packages) are helpers: their state is watched, because a plugin may import them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FoundPlugin:
    """A plugin file. `signature` (ctime in ns, size, inode) changes when the file does.

    The time of the last status change, for the time of modification can be set back: `cp -p` and `rsync -t` do.
    """

    name: str
    path: Path
    signature: Signature
    note: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the folders hold now. `helpers` is each folder's helper files; `problems` are for people.

    Of an `unreadable` folder nothing is known: what it held before may still be there.
    """

    plugins: dict[str, FoundPlugin]
    helpers: dict[Path, frozenset[tuple[str, Signature]]]
    problems: tuple[str, ...]
    unreadable: frozenset[Path] = frozenset()


def file_signature(path: Path) -> Signature | None:
    """None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ctime_ns, status.st_size, status.st_ino


def discover(directories: tuple[Path, ...]) -> Listing:
    """The first folder wins where two hold the same name; the other file is reported."""
    plugins: dict[str, FoundPlugin] = {}
    helpers: dict[Path, frozenset[tuple[str, Signature]]] = {}
    problems: list[str] = []
    unreadable: set[Path] = set()
    for directory in dict.fromkeys(given.absolute() for given in directories):
        try:
            identity = _identity(directory)
            paths = _entries(directory)
        except OSError as error:
            problems.append(
                f"plugin folder {directory} cannot be read: {error.strerror}; make it, or correct plugins.directories"
            )
            unreadable.add(directory)
            continue
        found, others, said = _looked_at(directory, paths, plugins)
        if not _is_still(directory, identity):  # what was not found in it may be where it is by now
            unreadable.add(directory)
            continue
        plugins |= found
        problems += said
        helpers[directory] = frozenset(others)
    return Listing(plugins, helpers, tuple(problems), frozenset(unreadable))


def _looked_at(
    directory: Path, paths: list[Path], before: dict[str, FoundPlugin]
) -> tuple[dict[str, FoundPlugin], set[tuple[str, Signature]], list[str]]:
    """Plugins, helper files and problems of one folder; `before` are those of the folders before it."""
    plugins: dict[str, FoundPlugin] = {}
    others: set[tuple[str, Signature]] = set()
    problems: list[str] = []
    for path in paths:
        signature = file_signature(path)
        if signature is None:
            problems.append(f"{path} cannot be read: a broken link, or no permission")
        elif path.is_dir():
            others |= _package_files(path)
        elif not path.is_file():
            problems.append(f"{path} is no plugin: it is no regular file")
        elif not NAME_PATTERN.fullmatch(path.stem):
            others.add((path.name, signature))
            if not path.name.startswith("_"):
                problems.append(f"{path} is no plugin: its name does not match ^{NAME_PATTERN.pattern}$")
        elif path.stem in before:
            problems.append(f"{path} is not served: {before[path.stem].path} has the same name and comes first")
        else:
            plugins[path.stem] = FoundPlugin(path.stem, path, signature, _note(path, directory))
    return plugins, others, problems


def _identity(directory: Path) -> tuple[int, int]:
    """Which folder this is, whatever its name. Raises OSError."""
    status = directory.stat()
    return status.st_dev, status.st_ino


def _is_still(directory: Path, identity: tuple[int, int]) -> bool:
    try:
        return _identity(directory) == identity
    except OSError:
        return False


def _entries(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        return [
            directory / name for name in sorted(e.name for e in entries if e.name.endswith(".py") or _is_package(e))
        ]


def _is_package(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith((".", "__")) and entry.is_dir()


def _package_files(directory: Path) -> set[tuple[str, Signature]]:
    found = ((str(path), file_signature(path)) for path in sorted(directory.glob("*.py"))[:1000])
    return {(name, signature) for name, signature in found if signature is not None}


def _note(path: Path, directory: Path) -> str:
    target = path.resolve()
    if target.is_relative_to(directory.resolve()):
        return ""
    return f"a link that leads out of the plugin folder, to {target}"
