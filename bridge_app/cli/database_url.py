"""A database's URL whose password is named, not written: other users of a machine can see the arguments of a process.

In: a URL as it was given, and the environment. Out: the URL to open.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bridge_app.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""As in config.yaml."""


def with_password(url: str, environment: Mapping[str, str]) -> str:
    """`url`, its password replaced by the variable that it refers to. Raises `BridgeError` where that is not there.

    The variable holds the password as it is: only what is written in the URL itself has to be quoted. A URL that
    cannot be read stays as it is, for `open_store` to refuse.

    >>> with_password("postgresql://ada:${COPY_PASSWORD}@db/history", {"COPY_PASSWORD": "a/b"})
    'postgresql://ada:a%2Fb@db/history'
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url
    reference = _REFERENCE.fullmatch(parsed.password or "")
    if reference is None:
        return url
    name = reference[1]
    if name not in environment:
        raise BridgeError(f"the password of --to refers to ${{{name}}}: {name} is not in the environment")
    return parsed.set(password=environment[name]).render_as_string(hide_password=False)
