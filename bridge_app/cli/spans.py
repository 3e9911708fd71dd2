"""The spans inside an execution as lines: indented by their parents, each with its place on the clock. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge_app.cli.text import duration_text, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_tracker.record import SpanRecord


def span_lines(spans: Sequence[SpanRecord]) -> list[str]:
    """A line a span, parents before children; a span whose parents do not lead to a root stands at the margin.

    `+` is the time after the first of them began.
    """
    known = {span.span_id for span in spans}
    children: dict[str, list[SpanRecord]] = {}
    for span in sorted(spans, key=lambda span: (span.start_time, span.span_id)):
        children.setdefault(span.parent_span_id if span.parent_span_id in known else "", []).append(span)
    begin = min((span.start_time for span in spans), default=0)
    lines: list[str] = []
    waiting = [(span, 0) for span in reversed(children.get("", []))]
    while waiting:
        span, depth = waiting.pop()
        lines.append(f"{'  ' * depth}{_line(span, begin)}")
        waiting += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
    in_circles = [span for name, members in children.items() if name for span in members]
    return lines + [_line(span, begin) for span in in_circles]


def _line(span: SpanRecord, begin: int) -> str:
    failed = f"  error: {one_line(span.error)}".rstrip() if span.status == "error" else ""
    took, after = duration_text(span.end_time - span.start_time), duration_text(span.start_time - begin)
    return f"{one_line(span.name)}  {took}  +{after}{failed}"
