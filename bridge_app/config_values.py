"""Nodes as plain values for a field, and as messages show them. `ValueError` carries a hint where YAML sets a trap."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec

from bridge_app import config_source
from bridge_app.config_fields import choices
from bridge_app.config_source import Node, Scalar, Sequence
from bridge_app.units import parse_duration, parse_size

if TYPE_CHECKING:
    from bridge_app.config_fields import Field


def builtin(leaf: Field, node: Node) -> object:
    """The node as a plain value for this field; `ValueError` carries a hint where YAML sets a trap."""
    match node:
        case config_source.Mapping() | Scalar(kind="null") if isinstance(leaf.info, msgspec.inspect.DictType):
            return _named_texts(node)
        case config_source.Mapping():
            raise ValueError("not a section")
        case Sequence(items=items):
            return [_text_or_value(item) if isinstance(item, Scalar) else builtin(leaf, item) for item in items]
        case Scalar() if choices(leaf) or leaf.duration:
            return _word(leaf, node)
        case Scalar(kind="str") if leaf.size:
            return _size(node.text)
        case Scalar() if isinstance(leaf.info, msgspec.inspect.StrType):
            return _text_or_value(node)
    value = config_source.scalar_value(node)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9][0-9.]*([eE][-+]?[0-9]+)?", value.strip()):
        raise ValueError("remove the quotes" if node.quoted else "YAML reads this as text; write the digits out")
    return value


def _named_texts(node: config_source.Mapping | Scalar) -> dict[str, object]:
    entries = node.entries if isinstance(node, config_source.Mapping) else {}
    if not all(isinstance(item, Scalar) for _, item in entries.values()):
        raise ValueError("each is one text")
    return {key: _text_or_value(item) for key, (_, item) in entries.items() if isinstance(item, Scalar)}


def _word(leaf: Field, node: Scalar) -> object:
    if not leaf.duration:
        return node.text
    if node.kind != "str":
        raise ValueError("the unit is missing")
    try:
        return parse_duration(node.text)
    except ValueError:  # its message repeats the value, which may come from a reference
        raise ValueError("units are d, h, m and s") from None


def _size(text: str) -> int:
    try:
        return int(text) if text.isdecimal() and text.isascii() else parse_size(text)
    except ValueError:  # its message repeats the value, which may come from a reference
        raise ValueError("units are B, KB, MB, GB, TB, and KiB, MiB, GiB, TiB") from None


def _text_or_value(node: Scalar) -> object:
    if node.kind == "str":
        if any("\ud800" <= character <= "\udfff" for character in node.text):
            raise ValueError("half of a surrogate pair, or bytes that are not UTF-8")
        return node.text
    readings = {"bool": "true or false", "null": "nothing"}
    raise ValueError(f"YAML reads this as {readings.get(node.kind, 'a number')}; put it in quotes")


def shown_as(node: Node, given: str | None) -> str:
    """As a message shows it: `given` where that is what was written, as a reference."""
    match node:
        case Scalar(kind="null", text=text) if not (given or text):
            return "empty"
        case Scalar(kind=kind, text=text):
            text = text if given is None else given
            short = text if len(text) <= 80 else text[:77] + "..."
            return repr(short) if kind == "str" or given else short
        case Sequence():
            return "a list"
        case _:
            return "a section"


def nearest_choice(leaf: Field, word: str) -> str:
    """A word to end a message with: the one that was perhaps meant."""
    known = {choice.lower(): choice for choice in choices(leaf)}
    close = get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[close[0]]}?" if close else ""
