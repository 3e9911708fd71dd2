"""`webhook-bridge`: the command line.

`root` lists the commands and imports each only when it is used; `command` holds what all of them share. Reading
commands open the store themselves, so they work with the bridge running and stopped.
"""

from bridge_app.cli.root import main

__all__ = ["main"]
