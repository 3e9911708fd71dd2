"""Finds every function of the tracking side that a webhook passes through, and makes one of them raise.

`Watch` notes which functions run, by thread; `planted` gives one of them another body for a while, so that every call
of it raises, wherever it was imported to. Nothing else is replaced.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Self

import opentelemetry.sdk.trace

import bridge_app.outcomes
import bridge_app.webhooks
import exporters
import otel_tracker

if TYPE_CHECKING:
    from collections.abc import Iterator

_WEBHOOKS = Path(bridge_app.webhooks.__file__)
_TRACKING = (
    *(str(Path(package.__path__[0])) for package in (otel_tracker, exporters)),
    str(_WEBHOOKS.with_name("durability.py")),
    str(_WEBHOOKS.with_name("history.py")),
    str(_WEBHOOKS.with_name("realtime.py")),
    str(_WEBHOOKS.with_name("trace_context.py")),
    str(Path(opentelemetry.sdk.trace.__file__).parents[2]),
)
_STEPS = {
    str(_WEBHOOKS): {"Bridge._open", "Bridge._captured_input", "Bridge._told"},
    bridge_app.outcomes.__file__: {"captured_output", "failure_of"},
}
"""What of the webhook's modules is tracking; `_caller`, `_close`, `_keep_…` and `_span_headers` are its guards."""
_ANSWER = bridge_app.outcomes.answer_of.__code__
"""A problem document says the error type too: what is called for that is the answer, not tracking."""

_COPY = "a copy that fault_sweep made"


class Watch:
    """Notes what threads that start after `with` run, while `is_open`."""

    def __init__(self) -> None:
        self.is_open = False
        self.seen: dict[str, dict[CodeType, None]] = {}
        """By thread name, in the order of the first calls."""

    def __enter__(self) -> Self:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """See no more; from here on the program is as fast as ever."""
        self.is_open = False
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if self.is_open and event == "call" and _is_tracking(frame.f_code):
            self.seen.setdefault(threading.current_thread().name, {})[frame.f_code] = None


def _is_tracking(code: CodeType) -> bool:
    if code.co_filename in _STEPS:
        return code.co_qualname in _STEPS[code.co_filename]
    return code.co_filename.startswith(_TRACKING)


def functions() -> dict[CodeType, FunctionType]:
    """The function that runs each code; what is made anew at each call (comprehensions) has none."""
    gc.unfreeze()  # a started bridge freezes what it has, and the collector shows none of that
    return {
        each.__code__: each for each in gc.get_objects() if isinstance(each, FunctionType) and each.__name__ != _COPY
    }


def name_of(code: CodeType) -> str:
    path = Path(code.co_filename)
    return f"{path.parent.name}.{path.stem}.{code.co_qualname}"


class Fault:
    """One function that raises: in these threads only, and not for the answer's own sake."""

    def __init__(self, function: FunctionType, error: BaseException, threads: frozenset[str]) -> None:
        self.code = function.__code__
        self.error = error
        self.threads = threads
        self.struck = threading.Event()
        self.original = FunctionType(
            self.code, function.__globals__, _COPY, function.__defaults__, function.__closure__
        )
        self.original.__kwdefaults__ = function.__kwdefaults__

    def is_due(self) -> bool:
        if threading.current_thread().name not in self.threads:
            return False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not _ANSWER:
            frame = frame.f_back
        return frame is None


_planted: dict[CodeType, Fault] = {}
"""By the body that was planted: a thread may have entered it just before it was taken away."""


def strike(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    fault = _planted[sys._getframe(1).f_code]
    if not fault.is_due():
        return fault.original(*args, **kwargs)
    fault.struck.set()
    raise fault.error


def _body(*args: Any, **kwargs: Any) -> Any:
    from fault_sweep import strike  # noqa: PLC0415 - it runs under the globals of another module

    return strike(args, kwargs)


@contextlib.contextmanager
def planted(function: FunctionType, error: BaseException, *, threads: frozenset[str]) -> Iterator[Fault]:
    """Make every call of the function in these threads raise until the block ends."""
    fault = Fault(function, error, threads)
    body = _body.__code__.replace(co_freevars=fault.code.co_freevars, co_name=f"fault_{len(_planted)}")
    _planted[body] = fault
    function.__code__ = body
    try:
        yield fault
    finally:
        function.__code__ = fault.code
