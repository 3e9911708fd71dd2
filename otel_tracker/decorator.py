"""`track`: the decorator and the context manager that people write. All the work is in `otel_tracker.tracking`."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from otel_tracker.conventions import CODE_FUNCTION_NAME
from otel_tracker.failsafe import failsafe
from otel_tracker.tracking import Execution, activate, deactivate, get_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")


class Track:
    """What `track(name)` gives: enter it with `with`, or put it over a function with `@`."""

    def __init__(self, name: str, *, input: object, tags: Mapping[str, str] | None) -> None:  # noqa: A002 - the record's own word
        self._name = name
        self._input = input
        self._tags = tags
        self._open: list[tuple[Execution, Any]] = []

    def __enter__(self) -> Execution:
        execution = get_tracker().start(self._name, input=self._input, tags=self._tags)
        self._open.append((execution, activate(execution)))
        return execution

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        execution, token = self._open.pop()
        deactivate(token)
        execution.end(error=error)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Track every call of `function` under this name: sync, async, or a generator."""
        return _wrap(function, self._name, self._tags)


@overload
def track(name: str, /, *, input: object = None, tags: Mapping[str, str] | None = None) -> Track: ...
@overload
def track(function: Callable[P, R], /) -> Callable[P, R]: ...
def track(
    target: str | Callable[P, R],
    /,
    *,
    input: object = None,  # noqa: A002 - the record's own word
    tags: Mapping[str, str] | None = None,
) -> Track | Callable[P, R]:
    """Track what runs, as a decorator or as a context manager.

    `@track`, `@track("name")`, or `with track("name", input=...) as execution:`.

    A decorated function's arguments are its input and its result its output; an exception passes through as it was.

    Example:
        >>> from otel_tracker import track
        >>> @track
        ... def add(a: int, b: int) -> int:
        ...     return a + b
        >>> add(1, b=2)
        3
    """
    if isinstance(target, str):
        return Track(target, input=input, tags=tags)
    return _wrap(target, getattr(target, "__name__", type(target).__name__), tags)


def _wrap(function: Callable[P, R], name: str, tags: Mapping[str, str] | None) -> Callable[P, R]:
    call = _Call(function, name, tags)
    if inspect.iscoroutinefunction(function):
        return cast("Callable[P, R]", functools.wraps(function)(call.run_async))
    if inspect.isgeneratorfunction(function):
        return cast("Callable[P, R]", functools.wraps(function)(call.run_generator))

    @functools.wraps(function)
    def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", call.run(args, kwargs))

    return tracked


class _Call:
    """The three ways to run a function inside an execution."""

    def __init__(self, function: Callable[..., Any], name: str, tags: Mapping[str, str] | None) -> None:
        self._function = function
        self._name = name
        self._tags = tags
        qualified = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', name)}"
        self._attributes = {CODE_FUNCTION_NAME: qualified}
        try:
            self._parameters = tuple(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            self._parameters = ()

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Execution, Any]:
        execution = get_tracker().start(
            self._name, input=self._input(args, kwargs), attributes=self._attributes, tags=self._tags
        )
        return execution, activate(execution)

    def _input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        try:
            named = dict(zip(self._parameters, args, strict=False))
            rest = {f"arg{i}": value for i, value in enumerate(args[len(self._parameters) :], len(self._parameters))}
            values = {**named, **rest, **kwargs}
            values.pop("self", None)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("track.input", error)
            return None
        else:
            return values

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        execution, token = self._start(args, kwargs)
        try:
            result = self._function(*args, **kwargs)
        except BaseException as error:
            deactivate(token)
            execution.end(error=error)
            raise
        deactivate(token)
        execution.set_output(result)
        execution.end()
        return result

    async def run_async(self, *args: Any, **kwargs: Any) -> object:
        execution, token = self._start(args, kwargs)
        try:
            result = await self._function(*args, **kwargs)
        except BaseException as error:
            deactivate(token)
            execution.end(error=error)
            raise
        deactivate(token)
        execution.set_output(result)
        execution.end()
        return result

    def run_generator(self, *args: Any, **kwargs: Any) -> Any:
        execution, token = self._start(args, kwargs)
        deactivate(token)  # between two values the caller's own code runs: it is not part of this execution
        try:
            result = yield from self._function(*args, **kwargs)
        except BaseException as error:
            execution.end(error=error)
            raise
        execution.end()
        return result
