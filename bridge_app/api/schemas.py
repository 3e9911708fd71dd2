"""The shapes of all answers as JSON Schema 2020-12, made of the structs that are encoded.

A struct's docstring describes its schema, and the text under a field describes the property.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any, Final

import msgspec

from bridge_app.api import shapes, trace_shapes
from bridge_app.api.jaeger import shapes as jaeger
from bridge_app.problems import FieldProblem, Problem
from otel_tracker.query import PruneResult
from otel_tracker.record import Status
from otel_tracker.stats import (
    DailyStats,
    ErrorDay,
    ErrorTrend,
    ExecutionStats,
    Figures,
    HourlyStats,
    PluginFigures,
    TimePoint,
    TimeSeries,
)

_SHAPES: Final = (
    shapes.ExecutionPage,
    shapes.ExecutionRecord,
    Status,
    ExecutionStats,
    Figures,
    DailyStats,
    HourlyStats,
    PluginFigures,
    ErrorTrend,
    ErrorDay,
    TimeSeries,
    TimePoint,
    shapes.PluginStats,
    shapes.RealtimeFigures,
    shapes.SpanList,
    shapes.Span,
    trace_shapes.Trace,
    trace_shapes.TraceSpan,
    trace_shapes.CriticalSection,
    shapes.StorageState,
    shapes.Spool,
    PruneResult,
    jaeger.JaegerNames,
    jaeger.JaegerOperations,
    jaeger.JaegerOperation,
    jaeger.JaegerTraces,
    jaeger.JaegerTrace,
    jaeger.JaegerSpan,
    jaeger.JaegerReference,
    jaeger.JaegerTag,
    jaeger.JaegerLog,
    jaeger.JaegerProcess,
    jaeger.JaegerDependencies,
    jaeger.JaegerDependency,
    jaeger.JaegerFailure,
    jaeger.JaegerError,
    shapes.PluginList,
    shapes.Plugin,
    shapes.DestinationList,
    shapes.Destination,
    shapes.Health,
    shapes.Liveness,
    Problem,
    FieldProblem,
)


@cache
def schemas() -> dict[str, Any]:
    """The components of the document, by name. Every answer is sent whole, so every field is required."""
    _, components = msgspec.json.schema_components(_SHAPES, ref_template="#/components/schemas/{name}")
    for kind in _SHAPES:
        schema = components[kind.__name__]
        if issubclass(kind, msgspec.Struct):
            for name, text in field_texts(kind).items():
                schema["properties"][name].setdefault("description", text)
            if kind is not Problem:  # it leaves out what says nothing
                schema["required"] = list(schema["properties"])
    return components


def field_texts(kind: type) -> dict[str, str]:
    """The text under each field of a class and its bases, as their sources have it; empty where there is no source."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):
            continue
        body = ast.parse(source).body[0]
        for field, text in pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(found))):
                    texts[name] = " ".join(found.split())
    return texts
