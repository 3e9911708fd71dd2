"""Plugins: found as files, imported and run in worker processes (or threads), reloaded when they change."""
