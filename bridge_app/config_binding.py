"""Nodes + environment → the fields of a struct tree, each with its origin; one exact message for whatever does not fit.

Knows structs and their `Meta` (see `config_fields`), no single key. Overrides: `BRIDGE__SECTION__KEY`. References:
`${NAME}`, `$${` for a literal `${`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bridge_app import config_source
from bridge_app.config_fields import MASK, PREFIX, Field, field_of, fields, struct_of_items
from bridge_app.config_source import Node, Scalar, Sequence
from bridge_app.config_values import builtin, nearest_choice, shown_as
from bridge_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$\{)")

_S = TypeVar("_S", bound=msgspec.Struct)


@dataclass(slots=True, kw_only=True)
class Binder:
    """One load: the file's name, the environment, and the origins found so far."""

    file: str
    short_file: str
    environ: Mapping[str, str] = field(repr=False)
    origins: dict[str, str] = field(default_factory=dict)

    def bind(self, struct: type[_S], root: config_source.Mapping) -> _S:
        """The whole tree. Raises `ConfigError` for the first thing that does not fit."""
        self._refuse_unknown_variables(struct)
        return self._struct(struct, node=root, line=root.line, prefix="")

    def _refuse_unknown_variables(self, struct: type[msgspec.Struct]) -> None:
        known = [leaf.variable for leaf in fields(struct)]
        for name in sorted(self.environ):
            if name.startswith(PREFIX) and name not in known:
                raise ConfigError(f"environment {name}: no such setting{_nearest(name.upper(), known)}")

    def _struct(self, struct: type[_S], *, node: Node | None, line: int, prefix: str) -> _S:
        entries = self._section(struct, node=node, line=line, prefix=prefix)
        values: dict[str, Any] = {}
        for item in msgspec.structs.fields(struct):
            path = f"{prefix}{item.encode_name}"
            at, child = entries.get(item.encode_name, (line, None))
            if isinstance(item.type, type) and issubclass(item.type, msgspec.Struct):
                values[item.name] = self._struct(item.type, node=child, line=at, prefix=f"{path}.")
            elif (kind := struct_of_items(item.type)) is not None:
                values[item.name] = self._structs(kind, field_of(path, item), node=child, line=at)
            else:
                values[item.name] = self._leaf_value(field_of(path, item), node=child, line=at)
        return struct(**values)

    def _structs(self, kind: type[_S], leaf: Field, *, node: Node | None, line: int) -> tuple[_S, ...]:
        """A list of sections. Each key's origin is kept as `path[0].key`."""
        binder = self
        if leaf.variable in self.environ:
            where = f"environment {leaf.variable}"
            binder = Binder(file=where, short_file=where, environ=self.environ, origins=self.origins)
            node, line = config_source.read_text(self.environ[leaf.variable]), 1
            self.origins[leaf.path] = where
        else:
            self.origins[leaf.path] = "default" if node is None else f"{self.short_file} line {line}"
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return ()
        if not isinstance(node, Sequence):
            what = "a section" if isinstance(node, config_source.Mapping) else shown_as(node, None)
            raise ConfigError(f"{leaf.path} is {what} ({binder.file}, line {line}): expected a list of sections")
        return tuple(
            binder._struct(kind, node=item, line=item.line, prefix=f"{leaf.path}[{number}].")
            for number, item in enumerate(node.items)
        )

    def _section(
        self, struct: type[msgspec.Struct], *, node: Node | None, line: int, prefix: str
    ) -> dict[str, tuple[int, Node]]:
        if node is None or (isinstance(node, Scalar) and node.kind == "null"):
            return {}
        known = [item.encode_name for item in msgspec.structs.fields(struct)]
        if not isinstance(node, config_source.Mapping):
            kind = "a list" if isinstance(node, Sequence) else "a single value"
            where = f"{prefix.rstrip('.')} is {kind} ({self.file}, line {line})"
            raise ConfigError(f"{where}: expected a section with the keys {', '.join(known)}")
        for key, (at, _) in node.entries.items():
            if key not in known:
                hint = _nearest(key, known)
                raise ConfigError(f"{prefix}{key} ({self.file}, line {at}): no such key{hint}")
        return node.entries

    def _leaf_value(self, leaf: Field, *, node: Node | None, line: int) -> object:
        if leaf.variable in self.environ:
            self.origins[leaf.path] = f"environment {leaf.variable}"
            return self._from_text(leaf, self.environ[leaf.variable], where=f"environment {leaf.variable}")
        if node is None:
            self.origins[leaf.path] = "default"
            return leaf.default
        self.origins[leaf.path] = f"{self.short_file} line {line}"
        return self._from_file(leaf, node, where=f"{self.file}, line {line}")

    def _from_file(self, leaf: Field, node: Node, *, where: str) -> object:
        if isinstance(node, Scalar):
            text = self._resolve(leaf, node.text, where=where)
            literal = node.text != "" and not re.fullmatch(r"\$\{\w+\}", node.text)
            if leaf.reference_only and literal:
                name = leaf.path.replace(".", "_").upper()
                raise ConfigError(
                    f"{leaf.path} is written into the file ({where}): expected a reference to the environment, "
                    f'such as "${{{name}}}", or the variable {leaf.variable}'
                )
            if text != node.text:
                return self._from_text(leaf, text, where=where, shown=node.text)
        if isinstance(node, Sequence | config_source.Mapping):
            node = self._resolve_items(leaf, node, where=where)
        return self._convert(leaf, node, where=where)

    def _from_text(self, leaf: Field, text: str, *, where: str, shown: str | None = None) -> object:
        """A value from the environment: a text field takes it as it is, anything else reads it as YAML."""
        if isinstance(leaf.info, msgspec.inspect.StrType) or leaf.duration:
            node: Node = Scalar(text=text, kind="str", quoted=True, line=1)
        else:
            node = config_source.read_text(text)
        return self._convert(leaf, node, where=where, shown=shown)

    def _resolve_items(
        self, leaf: Field, node: Sequence | config_source.Mapping, *, where: str
    ) -> Sequence | config_source.Mapping:
        def resolved(item: Node) -> Node:
            if not isinstance(item, Scalar):
                return item
            text = self._resolve(leaf, item.text, where=where)
            return item if text == item.text else Scalar(text=text, kind="str", quoted=True, line=item.line)

        if isinstance(node, Sequence):
            return Sequence(items=tuple(resolved(item) for item in node.items), line=node.line)
        entries = {key: (line, resolved(item)) for key, (line, item) in node.entries.items()}
        return config_source.Mapping(entries=entries, line=node.line)

    def _resolve(self, leaf: Field, text: str, *, where: str) -> str:
        def value(match: re.Match[str]) -> str:
            escaped, name, malformed = match.groups()
            if escaped:
                return "${"
            if malformed:
                raise ConfigError(
                    f"{leaf.path} ({where}) holds a reference without a proper name: expected ${{NAME}}, with letters, "
                    "digits and _; write $${ for a literal ${"
                )
            if name not in self.environ:
                raise ConfigError(f"{leaf.path} refers to ${{{name}}} ({where}): {name} is not in the environment")
            return self.environ[name]

        return _REFERENCE.sub(value, text)

    def _convert(self, leaf: Field, node: Node, *, where: str, shown: str | None = None) -> object:
        try:
            value = builtin(leaf, node)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a finite number is needed")  # noqa: TRY301 - one exit for the bad case
            return msgspec.convert(value, leaf.type)
        except (ValueError, msgspec.ValidationError) as error:
            hint = "" if isinstance(error, msgspec.ValidationError) else f" ({error})"
            is_what = MASK if leaf.secret else shown_as(node, shown)
            close = nearest_choice(leaf, shown or node.text) if isinstance(node, Scalar) else ""
            raise ConfigError(f"{leaf.path} is {is_what} ({where}): expected {leaf.expectation}{hint}{close}") from None


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}" if 0 < len(known) <= 12 else ""
