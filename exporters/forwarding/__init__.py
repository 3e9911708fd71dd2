"""Forwarding: what the history gets goes to other places too, each of which keeps what it has not taken yet on disk."""
