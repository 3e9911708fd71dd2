"""`python -m bridge_app` is `webhook-bridge`."""

from __future__ import annotations

from bridge_app.cli import main

if __name__ == "__main__":
    main()
