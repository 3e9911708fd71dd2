"""A caller's trace context: what of it counts, by the letter of W3C Trace Context, and under each policy."""

from __future__ import annotations

import pytest
from opentelemetry.trace import get_current_span

from bridge_app.trace_context import NOTHING, Policies, Policy, answer_headers, caller_of, received

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def state(text: str) -> str | None:
    caller = caller_of({"traceparent": GOOD, "tracestate": text})
    assert caller is not None
    return caller.trace_state.to_header() or None


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f" \t{GOOD} ",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-has",
        f"00-{TRACE}-{SPAN}-ff",
    ],
)
def test_a_valid_traceparent_is_taken(text: str) -> None:
    caller = caller_of({"traceparent": text})
    assert caller is not None
    assert (format(caller.trace_id, "032x"), format(caller.span_id, "016x")) == (TRACE, SPAN)
    assert caller.is_remote


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{GOOD}-more",
        f"{GOOD}.",
        f"{GOOD}\n",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.future",
        f"{GOOD}, {GOOD}",
        f"cc-{TRACE}-{SPAN}-01-x, cc-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE}-{SPAN}-\u0661\u0661",
    ],
)
def test_a_malformed_or_repeated_one_is_none_and_takes_the_state_with_it(text: str) -> None:
    headers = {"traceparent": text, "tracestate": "vendor=1"}
    assert caller_of(headers) is None
    assert received(headers, Policy.CONTINUE) == NOTHING


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a=1,b=2", "a=1,b=2"),
        ("a=1, b=2", "a=1,b=2"),
        ("a=1,,b=2 ,", "a=1,b=2"),
        ("0tenant@vendor=x y", "0tenant@vendor=x y"),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        (",".join(f"k{n}=v" for n in range(33)), None),
        ("a=1,a=2", None),
        ("a=1,B=2", None),
        ("a=1,b", None),
        ("a=1,b=", None),
        ("a=" + "x" * 256, "a=" + "x" * 256),
        ("a=" + "x" * 257, None),
        ("a=é", None),
        (",".join(f"k{n}=" + "x" * 256 for n in range(32)), None),
    ],
)
def test_the_state_is_taken_whole_or_not_at_all(text: str, kept: str | None) -> None:
    assert state(text) == kept


def test_a_state_alone_means_nothing() -> None:
    assert received({"tracestate": "a=1"}, Policy.CONTINUE) == NOTHING


def test_each_policy_does_what_it_says() -> None:
    headers = {"traceparent": GOOD, "tracestate": "a=1", "baggage": "user=ada"}
    continued, linked, ignored = (received(headers, policy) for policy in Policy)
    assert format(get_current_span(continued.context).get_span_context().trace_id, "032x") == TRACE
    assert (continued.link, continued.baggage) == (None, "user=ada")
    assert not get_current_span(linked.context).get_span_context().is_valid
    assert linked.link == caller_of(headers)
    assert linked.baggage == "user=ada"
    assert ignored == NOTHING


@pytest.mark.parametrize("text", ["a=" + "x" * 8192, "a=é"])
def test_baggage_that_is_none_goes_nowhere(text: str) -> None:
    assert received({"baggage": text}, Policy.CONTINUE).baggage == ""


def test_a_plugin_may_have_a_policy_of_its_own() -> None:
    policies = Policies("ignore", ["shop=continue"])
    assert [policies.of(name) for name in ("shop", "other")] == [Policy.CONTINUE, Policy.IGNORE]


def test_the_caller_is_told_the_span() -> None:
    caller = caller_of({"traceparent": GOOD})
    assert caller is not None
    assert answer_headers(caller) == {"traceresponse": GOOD, "Server-Timing": f'traceparent;desc="{GOOD}"'}
