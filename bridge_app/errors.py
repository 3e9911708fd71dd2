"""The error tree of the bridge.

BridgeError
├── ConfigError           the configuration is wrong; raised before anything is started
└── StartupError          the configuration is right, the machine is not: a port is taken, a folder cannot be written
"""

from __future__ import annotations


class BridgeError(Exception):
    """Anything the bridge raises on purpose."""


class ConfigError(BridgeError, ValueError):
    """A setting is wrong. One message: which key, its value (never a secret's), where it stands, what is expected."""


class StartupError(BridgeError):
    """The bridge cannot start here. The message says what to do about it."""
