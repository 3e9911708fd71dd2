"""The leaves of a struct tree: where each is, what it may be, and how its value is shown. Knows no single key.

A field's `Meta.description` is the expectation quoted in messages; `Meta.extra` may say `secret` (never shown),
`reference_only` (a literal in the file is refused), `duration` (text such as "1h30m", kept as seconds) or `size` (text
such as "10GB", or a number, kept as bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from bridge_app.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "BRIDGE__"
MASK = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A leaf of the struct tree."""

    path: str
    type: Any
    default: object
    info: msgspec.inspect.Type
    expectation: str
    secret: bool
    duration: bool
    size: bool
    reference_only: bool

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return PREFIX + self.path.replace(".", "__").upper()

    def show(self, value: object) -> str:
        """The value as a person would write it; a secret that is set is masked."""
        if self.secret and value:
            return MASK
        if self.duration and isinstance(value, int):
            return format_duration(value)
        if self.size and isinstance(value, int):
            return format_size(value)
        return f"{value:g}" if isinstance(value, float) else msgspec.json.encode(value).decode()


def fields(struct: type[msgspec.Struct], *, prefix: str = "") -> Iterator[Field]:
    """Every leaf below `struct`, in the order of declaration."""
    for item in msgspec.structs.fields(struct):
        path = f"{prefix}{item.encode_name}"
        if isinstance(item.type, type) and issubclass(item.type, msgspec.Struct):
            yield from fields(item.type, prefix=f"{path}.")
        else:
            yield field_of(path, item)


def struct_of_items(kind: Any) -> type[msgspec.Struct] | None:
    """The struct of which a field holds a tuple; None of any other field."""
    found = get_args(kind)
    is_list = get_origin(kind) is tuple and len(found) == 2 and found[1] is Ellipsis
    return found[0] if is_list and isinstance(found[0], type) and issubclass(found[0], msgspec.Struct) else None


def field_of(path: str, item: msgspec.structs.FieldInfo) -> Field:
    """The leaf that a struct's field is, at that path."""
    info = msgspec.inspect.type_info(item.type)
    extra: dict[str, Any] = {}
    expectation = ""
    if isinstance(info, msgspec.inspect.Metadata):
        extra = info.extra or {}
        expectation = str((info.extra_json_schema or {}).get("description", ""))
        info = info.type
    return Field(
        path=path,
        type=item.type,
        default=item.default if item.default_factory is msgspec.NODEFAULT else item.default_factory(),
        info=info,
        expectation=expectation or _expectation(info),
        secret=bool(extra.get("secret")),
        duration=bool(extra.get("duration")),
        size=bool(extra.get("size")),
        reference_only=bool(extra.get("reference_only")),
    )


def _expectation(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {', '.join(str(value) for value in values)}"
        case _:
            return "a text"


def choices(leaf: Field) -> list[str]:
    """The words that it may be; none where it is no choice."""
    return [str(value) for value in leaf.info.values] if isinstance(leaf.info, msgspec.inspect.LiteralType) else []
