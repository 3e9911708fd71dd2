"""Failures of tracking are counted always, logged seldom, and raised never."""

from __future__ import annotations

import logging
import threading

import pytest

from otel_tracker.failsafe import Failsafe

LOGGER = logging.getLogger("test_failsafe")
MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Interrupt(BaseException):
    pass


def test_a_place_is_logged_once_a_minute_and_counted_always(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failsafe = Failsafe(LOGGER, clock=clock)
    for seconds in (0.0, 1.0, MINUTE - 1.5, 0.5, 1.0):
        clock.now += seconds
        failsafe.caught("here", ValueError("x"))
    assert failsafe.failures == {"here": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "Tracking failed in here (1 times so far); the tracked code is not affected.",
        "Tracking failed in here (4 times so far); the tracked code is not affected.",
    ]


def test_places_are_logged_apart(caplog: pytest.LogCaptureFixture) -> None:
    failsafe = Failsafe(LOGGER, clock=Clock())
    failsafe.caught("here", ValueError())
    failsafe.caught("there", ValueError())
    assert (len(caplog.records), failsafe.failures) == (2, {"here": 1, "there": 1})


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(), Interrupt()])
def test_the_traceback_of_any_failure_is_logged(caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    Failsafe(LOGGER, clock=Clock()).caught("here", error)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info
    assert record.exc_info[1] is error


@pytest.mark.parametrize("error", [OSError("disk full"), Interrupt()])
def test_a_log_that_fails_reaches_nobody(error: BaseException) -> None:
    def broken(_: logging.LogRecord) -> bool:
        raise error

    logger = logging.getLogger("test_failsafe.broken")
    logger.addFilter(broken)
    failsafe = Failsafe(logger)
    failsafe.caught("here", ValueError())
    logger.removeFilter(broken)
    assert failsafe.failures == {"here": 1}


def test_a_clock_that_fails_reaches_nobody() -> None:
    def broken() -> float:
        raise Interrupt

    failsafe = Failsafe(LOGGER, clock=broken)
    failsafe.caught("here", ValueError())
    assert failsafe.failures == {"here": 1}


def test_no_failure_of_many_threads_is_missed() -> None:
    failsafe = Failsafe(LOGGER, clock=lambda: -1.0)

    def fail() -> None:
        for _ in range(5000):
            failsafe.caught("here", error)

    error = ValueError()
    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failsafe.failures == {"here": 20_000}
