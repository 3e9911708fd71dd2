"""Links from the history into other tools, by templates of the configuration. Pure.

A template is a URL with placeholders: `http://localhost:16686/trace/{trace_id}`. What is filled in is percent-encoded.
`{{` and `}}` stand for the braces themselves.
"""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDERS: Final = ("trace_id", "span_id", "execution_id", "plugin")
_STARTS: Final = ("http://", "https://", "/")


def fault(template: str) -> str:
    """What is wrong with it, as "expected …"; empty where nothing is.

    >>> fault("http://localhost:16686/trace/{trace_id}")
    ''
    >>> fault("http://localhost/{trace}")
    'expected only the placeholders {trace_id}, {span_id}, {execution_id}, {plugin}, not {trace}'
    """
    if not template.startswith(_STARTS):
        return "expected a URL that begins with http://, https:// or /"
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return f"expected every brace to be part of a placeholder ({known}), or doubled"
    for _, name, form, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            return f"expected only the placeholders {known}, not {{{name}}}"
    return ""


def filled(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Each template with the values of all placeholders in it.

    >>> filled({"jaeger": "/trace/{trace_id}"}, {"trace_id": "4bf9", "plugin": "a b"})
    {'jaeger': '/trace/4bf9'}
    """
    encoded = {name: quote(values.get(name, ""), safe="") for name in PLACEHOLDERS}
    return {name: template.format_map(encoded) for name, template in templates.items()}
