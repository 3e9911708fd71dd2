"""An export as an answer over REST: a download, made while it is sent."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING

from bridge_app.api.export.gzip_file import accepts_gzip, gzipped
from bridge_app.api.streaming import ByteStream

if TYPE_CHECKING:
    from bridge_app.api.export.formats import Export
    from otel_tracker.ports import RecordReader


def export_response(store: RecordReader, export: Export, *, accept_encoding: str, now: int) -> ByteStream:
    """The file. Raises `StorageError` where not even its first records can be read.

    A client that accepts gzip gets a text packed for the way (`Content-Encoding`) and unpacks it by itself; what is
    compressed already is sent as it is. `now`, nanoseconds since the epoch, is the time in the file's name.
    """
    records = export.records(store)
    chunks = export.file(chain([next(records)], records))
    headers = {"Content-Disposition": f'attachment; filename="{_file_name(export, now)}"'}
    if export.as_gzip:
        return ByteStream(chunks, media_type="application/gzip", headers=headers)
    if not export.format.is_compressed:
        headers["Vary"] = "Accept-Encoding"
        if accepts_gzip(accept_encoding):
            headers["Content-Encoding"] = "gzip"
            chunks = gzipped(chunks)
    return ByteStream(chunks, media_type=export.format.media_type, headers=headers)


def _file_name(export: Export, now: int) -> str:
    """`executions-20250606T143348Z.csv`, `.csv.gz`."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now // 1_000_000_000))
    return f"executions-{moment}.{export.format}{'.gz' if export.as_gzip else ''}"
