"""What `track` makes of a function has that function's type; checked by mypy, run by test_track_types.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from otel_tracker import track
from otel_tracker.decorator import Track
from otel_tracker.execution import Execution

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
    from typing import Any


@track
def plain(a: int, /, b: str = "", *, c: bool = False) -> str:
    return f"{a}{b}{c}"


@track("named", tags={"team": "shop"})
def named(*numbers: int, **words: str) -> list[int]:
    return [*numbers, len(words)]


@track
async def later(a: int) -> str:
    return str(a)


@track("numbers")
def numbers(stop: int) -> Iterator[int]:
    yield from range(stop)


@track
def talk(stop: int) -> Generator[int, str, bytes]:
    yield stop
    return b""


@track("numbers later")
async def numbers_later(stop: int) -> AsyncIterator[int]:
    for number in range(stop):
        yield number


class Shop:
    @track
    def order(self, item: str, *, count: int = 1) -> str:
        return item * count

    @track("deliver")
    async def deliver(self, item: str) -> bytes:
        return item.encode()

    @classmethod
    @track
    def open(cls, city: str) -> Shop:
        del city
        return cls()

    @staticmethod
    @track
    def close(city: str) -> int:
        return len(city)


def calls(shop: Shop) -> None:
    """What a call gives."""
    assert_type(plain(1, "b", c=True), str)
    assert_type(named(1, 2, word="w"), list[int])
    assert_type(numbers(3), "Iterator[int]")
    assert_type(talk(3), "Generator[int, str, bytes]")
    assert_type(numbers_later(3), "AsyncIterator[int]")
    assert_type(shop.order("tea", count=2), str)
    assert_type(Shop.open("Rome"), Shop)
    assert_type(Shop.close("Rome"), int)


async def awaits(shop: Shop) -> None:
    """What a coroutine gives."""
    assert_type(await later(1), str)
    assert_type(await shop.deliver("tea"), bytes)


def functions() -> None:
    """The functions themselves."""
    given: Callable[[int], Coroutine[Any, Any, str]] = later
    assert_type(track(len)([1]), int)
    assert_type(track("named"), Track)
    del given


def blocks() -> None:
    """The `with` block."""
    with track("block", input={"a": 1}) as execution:
        assert_type(execution, Execution)
        assert_type(execution.id, str)
