"""`make bench`: every measurement that the README quotes, one after the other. Name some to run only these.

python -m benchmarks [dispatch tracking ingest drain outage forwarding pages stats memory per_call]
"""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib import import_module

ALL = ("dispatch", "tracking", "ingest", "drain", "outage", "forwarding", "pages", "stats", "memory", "per_call")


def main(names: list[str]) -> int:
    """Run them; 2 for a name that is none of them."""
    if unknown := set(names) - set(ALL):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}", flush=True)
    for name in names or ALL:
        import_module(f"benchmarks.bench_{name}").main()
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
