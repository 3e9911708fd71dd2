"""`track`: the decorator and the context manager that people write. All the work is in `tracking` and `execution`."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from opentelemetry.trace import get_current_span

from otel_tracker.conventions import CODE_FUNCTION_NAME
from otel_tracker.failsafe import failsafe
from otel_tracker.tracking import activate, deactivate, get_tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from otel_tracker.execution import Execution

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
        entered = self._open[-1] if len(self._open) == 1 else self._entered_here()
        self._open.remove(entered)
        execution, token = entered
        deactivate(token)
        execution.end(error=error)

    def _entered_here(self) -> tuple[Execution, Any]:
        """Of several threads or tasks that share this object, the one that leaves now: its span is the current one."""
        span = get_current_span()
        entries = self._open[:]
        return next((entry for entry in reversed(entries) if entry[0].span is span), entries[-1])

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Track every call of `function` under this name: sync, async, or a generator of either kind."""
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
    if isinstance(function, (classmethod, staticmethod)):
        return cast("Callable[P, R]", type(function)(_wrap(function.__func__, name, tags)))
    call = _Call(function, name, tags)
    if inspect.isasyncgenfunction(function):
        wrapper: Callable[..., Any] = call.async_generator_function()
    elif inspect.iscoroutinefunction(function):
        wrapper = call.coroutine_function()
    elif inspect.isgeneratorfunction(function):
        wrapper = call.generator_function()
    else:
        wrapper = call.plain_function()
    return cast("Callable[P, R]", functools.wraps(function)(wrapper))


class _Call:
    """The four ways to run a function inside an execution; each wrapper is of the kind that it wraps."""

    def __init__(self, function: Callable[..., Any], name: str, tags: Mapping[str, str] | None) -> None:
        self._function = function
        self._name = name
        self._tags = tags
        qualified = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', name)}"
        self._attributes = {CODE_FUNCTION_NAME: qualified}
        self._positional, self._rest = _parameters(function)
        self._drops_first = self._positional[:1] in {("self",), ("cls",)}

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
        return get_tracker().start(
            self._name, input=self._input(args, kwargs), attributes=self._attributes, tags=self._tags
        )

    def _input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        try:
            values = dict(zip(self._positional, args, strict=False))
            if self._drops_first:
                values.pop(self._positional[0], None)
            if len(args) > len(self._positional):
                values[self._rest] = args[len(self._positional) :]
            values.update(kwargs)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("track.input", error)
            return None
        else:
            return values

    def plain_function(self) -> Callable[..., Any]:
        function = self._function

        def tracked(*args: Any, **kwargs: Any) -> Any:
            execution = self._start(args, kwargs)
            token = activate(execution)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                deactivate(token)
                execution.end(error=error)
                raise
            deactivate(token)
            execution.set_output(result)
            execution.end()
            return result

        return tracked

    def coroutine_function(self) -> Callable[..., Any]:
        function = self._function

        async def tracked(*args: Any, **kwargs: Any) -> Any:
            execution = self._start(args, kwargs)
            token = activate(execution)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                deactivate(token)
                execution.end(error=error)
                raise
            deactivate(token)
            execution.set_output(result)
            execution.end()
            return result

        return tracked

    # Between two values of a generator its caller's code runs, which is no part of the execution: so its span is never
    # made the current one. It begins with the first value asked for and ends with the last; what the generator returns
    # is the output, what it yields is not kept.

    def generator_function(self) -> Callable[..., Any]:
        function = self._function

        def tracked(*args: Any, **kwargs: Any) -> Any:
            execution = self._start(args, kwargs)
            try:
                result = yield from function(*args, **kwargs)
            except BaseException as error:
                execution.end(error=error)
                raise
            if result is not None:
                execution.set_output(result)
            execution.end()
            return result

        return tracked

    def async_generator_function(self) -> Callable[..., Any]:
        function = self._function

        async def tracked(*args: Any, **kwargs: Any) -> Any:
            execution = self._start(args, kwargs)
            generator = function(*args, **kwargs)
            try:
                step = generator.__anext__()
                while True:
                    try:
                        value = await step
                    except StopAsyncIteration:
                        break
                    try:
                        sent = yield value
                    except GeneratorExit:
                        await generator.aclose()
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - whatever the caller throws in is the generator's
                        step = generator.athrow(thrown)
                    else:
                        step = generator.asend(sent)
            except BaseException as error:
                execution.end(error=error)
                raise
            execution.end()

        return tracked


def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], str]:
    """The names of what can be passed by position, and of what takes the rest."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return (), "args"
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = next((each.name for each in parameters if each.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    return tuple(each.name for each in parameters if each.kind in by_position), rest
