"""The history as a file: CSV, JSON, JSON Lines or parquet, made while it is read.

In: a reader, and what to export (`Export`). Out: the file's bytes, piece by piece. No piece is kept, so the memory that
an export takes does not grow with the history. `response` sends them over REST, `bridge_app.cli.export` writes them.

An export is a walk by cursor from the newest record at its start to the oldest: what starts meanwhile is not in it,
nothing is in it twice.
"""

from bridge_app.api.export.formats import Export, ExportFormat

__all__ = ["Export", "ExportFormat"]
