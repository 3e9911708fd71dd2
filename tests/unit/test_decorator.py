"""`track` over functions of every kind: the record it leaves, and that nobody can tell it is there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import get_current_span

from otel_tracker import Status, track
from otel_tracker.testing import record_executions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from otel_tracker.testing import Recorded


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with record_executions() as recorded:
        yield recorded


class OwnInterrupt(BaseException):
    pass


ERRORS = [ValueError("v"), asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(2), OwnInterrupt()]


@track
def add(a: int, b: int = 0, *rest: int, scale: int = 1) -> int:
    """Add."""
    return (a + b + sum(rest)) * scale


@track("slow add")
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@track(name := "count up")
def count(stop: int) -> Generator[int, str, str]:
    got = []
    for number in range(stop):
        with contextlib.suppress(KeyError):
            got.append((yield number))
    return "".join(map(str, got))


@track
async def count_later(stop: int) -> AsyncIterator[int]:
    for number in range(stop):
        await asyncio.sleep(0)
        yield number


class Shop:
    @track
    def order(self, item: str) -> str:
        return f"{item} ordered"

    @classmethod
    @track
    def open(cls, city: str) -> str:
        return f"{cls.__name__} {city}"

    @staticmethod
    @track
    def close(city: str) -> str:
        return city

    @track  # the wrong way round, and it works all the same
    @classmethod
    def reopen(cls, city: str) -> str:
        return f"{cls.__name__} {city}"

    @track
    async def deliver(self, item: str) -> str:
        return f"{item} delivered"


def fail(error: BaseException) -> None:
    raise error


async def fail_later(error: BaseException) -> None:
    raise error


def fail_while_counting(error: BaseException) -> Iterator[int]:
    yield 1
    raise error


async def fail_while_counting_later(error: BaseException) -> AsyncIterator[int]:
    yield 1
    raise error


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function of any kind to its end."""
    result = function(*args)
    if inspect.isgenerator(result):
        return list(result)
    if inspect.isasyncgen(result):
        return drive(gather(result))
    return drive(result) if inspect.iscoroutine(result) else result


def drive(coroutine: Any) -> Any:
    """A coroutine that never really waits, run without a loop: an event loop treats SystemExit as its own."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


async def gather(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: add(1, 2, 3, 4, scale=2), ("add", '{"a":1,"b":2,"rest":[3,4],"scale":2}', "20")),
        (lambda: call(add_later, 1, 2), ("slow add", '{"a":1,"b":2}', "3")),
        (lambda: call(count, 2), ("count up", '{"stop":2}', '"NoneNone"')),
        (lambda: call(count_later, 2), ("count_later", '{"stop":2}', "")),
        (lambda: Shop().order("tea"), ("order", '{"item":"tea"}', '"tea ordered"')),
        (lambda: Shop.open("Rome"), ("open", '{"city":"Rome"}', '"Shop Rome"')),
        (lambda: Shop.close("Rome"), ("close", '{"city":"Rome"}', '"Rome"')),
        (lambda: Shop().reopen("Rome"), ("reopen", '{"city":"Rome"}', '"Shop Rome"')),
        (lambda: drive(Shop().deliver("tea")), ("deliver", '{"item":"tea"}', '"tea delivered"')),
    ],
    ids=["function", "coroutine", "generator", "async generator", "method", "class method", "static method",
         "over a class method", "async method"],
)  # fmt: skip
def test_a_call_becomes_a_record(recorded: Recorded, act: Callable[[], Any], expected: tuple[str, str, str]) -> None:
    act()
    record = recorded.one
    assert (record.plugin_name, record.input, record.output) == expected
    assert record.status is Status.COMPLETED


@pytest.mark.parametrize("function", [fail, fail_later, fail_while_counting, fail_while_counting_later])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_passes_as_it_was(recorded: Recorded, function: Callable[..., Any], error: BaseException) -> None:
    """The same object, no context added, and the traceback longer by the wrapper's own frame only."""
    error = type(error)(*error.args)
    with pytest.raises(type(error)) as plain:
        call(function, error)
    expected = [entry.name for entry in plain.traceback]
    error.__traceback__ = None

    with pytest.raises(type(error)) as caught:
        call(track(function), error)

    assert caught.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    assert [entry.name for entry in caught.traceback if entry.name != "tracked"] == expected
    assert recorded.one.status in {Status.FAILED, Status.CANCELED}
    assert not recorded.failures


@pytest.mark.parametrize(
    ("function", "is_kind"),
    [
        (add_later, inspect.iscoroutinefunction),
        (count, inspect.isgeneratorfunction),
        (count_later, inspect.isasyncgenfunction),
        (Shop.deliver, inspect.iscoroutinefunction),
    ],
)
def test_a_wrapper_is_of_the_kind_it_wraps(function: Any, is_kind: Callable[[Any], bool]) -> None:
    assert is_kind(function)


def test_a_wrapper_looks_like_what_it_wraps() -> None:
    assert (add.__name__, add.__qualname__, add.__doc__, add.__module__) == ("add", "add", "Add.", __name__)
    assert str(inspect.signature(add)) == "(a: 'int', b: 'int' = 0, *rest: 'int', scale: 'int' = 1) -> 'int'"


def test_what_has_no_name_or_signature_is_tracked_too(recorded: Recorded) -> None:
    assert track(functools.partial(max, 1))(2) == 2
    assert track(max)(1, 2) == 2
    assert [(one.plugin_name, one.input) for one in recorded.executions] == [
        ("partial", '{"args":[2]}'),
        ("max", '{"args":[1,2]}'),
    ]


def test_wrong_arguments_are_the_functions_own_error(recorded: Recorded) -> None:
    wrong: Any = add
    with pytest.raises(TypeError, match=r"add\(\) got an unexpected keyword argument 'c'"):
        wrong(1, c=2)
    assert recorded.one.status is Status.FAILED


def test_values_sent_and_thrown_reach_the_generator(recorded: Recorded) -> None:
    counting = count(3)
    assert (next(counting), counting.send("a"), counting.throw(KeyError())) == (0, 1, 2)
    with pytest.raises(StopIteration) as stop:
        counting.send("b")
    assert (stop.value.value, recorded.one.output) == ("ab", '"ab"')


def test_values_sent_and_thrown_reach_the_async_generator(recorded: Recorded) -> None:
    @track
    async def echo() -> Any:
        got: Any = "nothing"
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = error

    async def talk() -> list[Any]:
        echoing, error = echo(), KeyError()
        said = [await anext(echoing), await echoing.asend(1), await echoing.athrow(error) is error]
        await echoing.aclose()
        return said

    assert asyncio.run(talk()) == ["nothing", 1, True]
    assert recorded.one.status is Status.CANCELED


@pytest.mark.parametrize("function", [count, count_later])
def test_a_generator_that_is_never_asked_is_no_execution(recorded: Recorded, function: Callable[[int], Any]) -> None:
    function(3)
    assert (recorded.executions, recorded.running) == ([], [])


def test_a_generator_left_early_is_canceled_and_cleans_up(recorded: Recorded) -> None:
    cleaned = []

    @track
    def numbers() -> Iterator[int]:
        try:
            yield 1
        finally:
            cleaned.append(True)

    counting = numbers()
    next(counting)
    counting.close()  # type: ignore[attr-defined]  # generators have it
    assert (cleaned, recorded.one.status) == ([True], Status.CANCELED)


def test_code_between_two_values_is_no_part_of_the_generators_execution(recorded: Recorded) -> None:
    before = get_current_span()
    for _ in count(2):
        assert get_current_span() is before
    assert recorded.one.plugin_name == "count up"


def test_tracked_calls_nest(recorded: Recorded) -> None:
    @track
    def outer() -> int:
        return add(1) + add(2)

    assert outer() == 3
    first, second, last = recorded.executions
    assert first.parent_span_id == second.parent_span_id == last.span_id


def test_tasks_at_the_same_time_do_not_mix(recorded: Recorded) -> None:
    @track
    async def parent(number: int) -> None:
        await asyncio.sleep(0)
        await add_later(number, number)

    async def both() -> None:
        await asyncio.gather(parent(1), parent(2))

    asyncio.run(both())
    inputs = {record.span_id: record.input for record in recorded.executions}
    pairs = {(inputs[one.parent_span_id], one.input) for one in recorded.executions if one.parent_span_id}
    assert pairs == {('{"number":1}', '{"a":1,"b":1}'), ('{"number":2}', '{"a":2,"b":2}')}


def test_one_track_object_serves_threads_at_the_same_time(recorded: Recorded) -> None:
    """The first to enter leaves first: each leaves its own execution, not the other's."""
    shared = track("job")
    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with shared as execution:
            execution.set_output("other")
            entered.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with shared as execution:
        execution.set_output("mine")
        thread.start()
        entered.wait(10)
    outputs = [record.output for record in recorded.executions]
    left.set()
    thread.join()
    assert outputs == ['"mine"']
    assert [record.output for record in recorded.executions] == ['"mine"', '"other"']


def test_a_named_decorator_can_be_put_over_several_functions(recorded: Recorded) -> None:
    job = track("job", tags={"team": "shop"})
    job(len)("four")
    job(sum)([1, 2])
    assert [(one.plugin_name, one.output, one.tags) for one in recorded.executions] == [
        ("job", "4", '{"team":"shop"}'),
        ("job", "3", '{"team":"shop"}'),
    ]


def test_the_input_is_as_it_was_when_the_call_began(recorded: Recorded) -> None:
    @track
    def empty(items: list[int]) -> None:
        items.clear()

    empty([1, 2])
    assert recorded.one.input == '{"items":[1,2]}'


def test_the_result_is_the_very_object(recorded: Recorded) -> None:
    result = object()
    assert track(lambda: result)() is result


def test_a_tracked_function_works_where_nothing_is_configured() -> None:
    assert add(1, 2) == 3
    assert call(count_later, 2) == [0, 1]
