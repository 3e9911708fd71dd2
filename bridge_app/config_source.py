"""Text → a tree of nodes that know their line. Knows YAML and its traps; knows no key of the configuration.

In: the bytes of a YAML file, or the text of one environment variable. Out: `Mapping`, `Sequence` and `Scalar` nodes.
Scalars keep their text, so that `off` can still be a word where a word is expected. It never builds Python objects
from tags, never repeats a quoted piece of the file in a message (it could be a password), and never reads the
environment. YAML 1.1 as PyYAML resolves it: https://yaml.org/type/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from bridge_app.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_TAG = "tag:yaml.org,2002:"
_SCALAR_KINDS = {"bool", "int", "float", "null", "str", "timestamp", "value"}
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value: its text, and what YAML takes it for (bool, int, float, null; everything else is a str)."""

    text: str
    kind: str
    quoted: bool
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Keys with the line each stands in; a merged key keeps the line of where it was written."""

    entries: dict[str, tuple[int, Node]]
    line: int


Node = Scalar | Sequence | Mapping


def read_file(path: Path) -> Mapping:
    """The mapping of a YAML file; an empty file is an empty mapping. Raises `ConfigError`."""
    name = str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{name} is not there: give --config the path of an existing file, or leave it out") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}") from error
    root = _compose(_decode(content, name=name), name=name)
    if root is None:
        return Mapping(entries={}, line=1)
    node = _Builder(name).build(root)
    if isinstance(node, Scalar) and node.kind == "null":
        return Mapping(entries={}, line=1)
    if not isinstance(node, Mapping):
        kind = "list" if isinstance(node, Sequence) else "single value"
        raise ConfigError(f"{name}, line {node.line}: the file holds a {kind}; expected sections, such as `server:`")
    return node


def read_text(text: str) -> Node:
    """The value of an environment variable, read as YAML; what is no YAML is a plain text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        node = _Builder("environment").build(root) if root is not None else None
    except (yaml.YAMLError, ConfigError, RecursionError):
        node = None
    return node or Scalar(text=text, kind="str" if text else "null", quoted=False, line=1)


def scalar_value(scalar: Scalar) -> bool | float | str | None:
    """What the scalar means. Raises `ValueError` with the way out where YAML means another thing than it shows."""
    text = scalar.text.replace("_", "")
    match scalar.kind:
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "null":
            return None
        case "int" | "float" if ":" in text:
            raise ValueError("YAML reads digits with colons as minutes and seconds; write the plain number")
        case "int" if _LEADING_ZERO.fullmatch(text):
            raise ValueError("YAML reads a leading 0 as octal; write it without the 0")
        case "int" | "float":
            return _number(text, kind=scalar.kind)
        case _:
            return scalar.text


def _number(text: str, *, kind: str) -> float:
    try:
        return int(text, 0) if kind == "int" else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # Python's message repeats the digits, and limits them to 4300.
        raise ValueError("this number cannot be read") from None


def _decode(content: bytes, *, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ConfigError(f"{name}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def _compose(text: str, *, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        problem = error.problem or ""
        marks = (error.problem_mark, error.context_mark)
        # An open quote or bracket is reported where the file ends; it is to be mended where it was opened.
        mark = next(filter(None, reversed(marks) if "end of stream" in problem else marks), None)
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}, line {line}: not valid YAML: {_explain(problem)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{ord(text[error.position]):04X}"
        raise ConfigError(f"{name}, line {line}: the character {character} is not allowed in YAML; remove it") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply: the configuration has four levels at most") from None


def _explain(problem: str) -> str:
    """PyYAML's words without pieces of the file, and with what to do about the usual slips."""
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    if "end of stream" in problem:
        return "a quote or bracket that opens here is never closed"
    if "another document" in problem:
        return "a second document starts; keep one"
    if "alias" in problem:
        return "`*` starts an alias and there is no such anchor; put a value that starts with * in quotes"
    if "mapping values are not allowed" in problem:
        return "a second `: ` in one line; put a value that holds a colon in quotes, and check the indentation"
    return re.sub(r"'[^']*'|\"[^\"]*\"", lambda match: _syntax_only(match[0]), problem)


def _syntax_only(quoted: str) -> str:
    return quoted if len(quoted) == 3 or quoted[1] == "<" else "a piece of text"


class _Builder:
    """YAML nodes → our nodes: duplicate keys refused, merges flattened, each shared node built once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._built: dict[int, Node] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> Node:
        """The node and all below it. An anchor that holds itself is refused."""
        if id(node) in self._built:
            return self._built[id(node)]
        if id(node) in self._open:
            raise self._error(node, "an anchor that contains itself; write the value out")
        self._open.add(id(node))
        built = self._convert(node)
        self._open.discard(id(node))
        self._built[id(node)] = built
        return built

    def _convert(self, node: yaml.Node) -> Node:
        line = node.start_mark.line + 1
        kind = node.tag.removeprefix(_TAG)
        match node:
            case yaml.ScalarNode() if kind in _SCALAR_KINDS:
                kind = kind if kind in {"bool", "int", "float", "null"} else "str"
                return Scalar(text=node.value, kind=kind, quoted=node.style is not None, line=line)
            case yaml.SequenceNode() if kind == "seq":
                return Sequence(items=tuple(self.build(item) for item in node.value), line=line)
            case yaml.MappingNode() if kind == "map":
                return Mapping(entries=self._entries(node), line=line)
            case _:
                raise self._error(node, "`!` starts a type tag, which is not supported here; quote a value with !")

    def _entries(self, node: yaml.MappingNode) -> dict[str, tuple[int, Node]]:
        own: dict[str, tuple[int, Node]] = {}
        merged: dict[str, tuple[int, Node]] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                self._merge(merged, value_node)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key that is a list or a mapping; expected a word")
            if key_node.value in own:
                first = own[key_node.value][0]
                raise self._error(key_node, f"the key {key_node.value!r} stands in line {first} already; keep one")
            own[key_node.value] = (line, self.build(value_node))
        return merged | own

    def _merge(self, into: dict[str, tuple[int, Node]], value_node: yaml.Node) -> None:
        source = self.build(value_node)
        for item in source.items if isinstance(source, Sequence) else (source,):
            if not isinstance(item, Mapping):
                raise self._error(value_node, "`<<` takes a mapping or a list of mappings")
            for key, entry in item.entries.items():
                into.setdefault(key, entry)

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}, line {node.start_mark.line + 1}: {problem}")
