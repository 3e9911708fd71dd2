"""`make bench`: every measurement that the README quotes, one after the other. Name some to run only these.

python -m benchmarks [NAME …], of those in `ALL` and `NAMED`.

`scale`, ten million records, is measured only where it is named.
"""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib import import_module

ALL = (
    "dispatch",
    "tracking",
    "ingest",
    "otlp_in",
    "drain",
    "outage",
    "forwarding",
    "pages",
    "stats",
    "cleanup",
    "memory",
    "per_call",
)
NAMED = ("scale",)
"""Too long for every time."""


def main(names: list[str]) -> int:
    """Run them; 2 for a name that is none of them."""
    if unknown := set(names) - {*ALL, *NAMED}:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join((*ALL, *NAMED))}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}", flush=True)
    for name in names or ALL:
        import_module(f"benchmarks.bench_{name}").main()
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
