"""The plugin contract and what is done with results and errors, without any process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge_app.plugin import BasePlugin
from bridge_app.plugins import answers, loader
from bridge_app.plugins.contract import Event, handled_methods
from bridge_app.plugins.discovery import discover
from bridge_app.plugins.logs import LogBuffer

if TYPE_CHECKING:
    from pathlib import Path


def never(_: Any) -> Any:
    raise AssertionError("nothing to wait for")


def call(source: str, *, data: Any = None, method: str = "POST") -> Any:
    plugin = loader.load("sample", key="1", path="/nowhere/sample.py", source=source.encode())
    return plugin.call(Event(data=data, method=method), wait=never)


def test_run_wins_over_the_method_and_the_method_over_handle() -> None:
    base = (
        "from bridge_app.plugin import BasePlugin\nclass Plugin(BasePlugin):\n    def handle(self): return 'handle'\n"
    )
    post = base + "    def post(self): return 'post'\n"
    run = post + "    def run(self): return 'run'\n"
    assert [call(base), call(post), call(post, method="GET"), call(run)] == ["handle", "post", "handle", "run"]


def test_set_result_is_the_answer_when_the_handler_returns_none() -> None:
    class Plugin(BasePlugin):
        def handle(self) -> None:
            self.set_result("who", self.get_data("name", "nobody"))

    plugin = Plugin({"name": "Ada"})
    assert (plugin.run(), plugin.get_result()) == (None, {"who": "Ada"})


def test_get_data_of_a_list_is_the_default() -> None:
    assert BasePlugin([1]).get_data("name", "nobody") == "nobody"


def test_the_methods_of_a_class_are_those_it_overrides() -> None:
    class Reader(BasePlugin):
        def get(self) -> str:
            return "read"

    class Runs(BasePlugin):
        def run(self) -> str:
            return "run"

    assert handled_methods(Reader) == ("GET",)
    assert handled_methods(Runs) == ("GET", "POST", "PUT", "PATCH", "DELETE")


def test_a_file_without_a_plugin_says_what_is_missing() -> None:
    with pytest.raises(loader.NotAPluginError, match="neither"):
        call("x = 1")


def test_no_instance_is_used_twice() -> None:
    source = (
        "from bridge_app.plugin import BasePlugin\nclass Plugin(BasePlugin):\n"
        "    def handle(self):\n        self.set_result('n', len(self.result))\n"
    )
    plugin = loader.load("sample", key="1", path="/nowhere/sample.py", source=source.encode())
    assert [plugin.call(Event(data={}), wait=never) for _ in range(2)] == [{"n": 0}, {"n": 0}]


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"a": (1, None)}, b'{"a":[1,null]}'),
        ([float("inf"), {"b": float("nan")}], b'[null,{"b":null}]'),
        ("\ud83d\ude00 \ud800", '"😀 \ufffd"'.encode()),
        ({1: True}, b'{"1":true}'),
    ],
)
def test_a_result_becomes_strict_json(result: Any, body: bytes) -> None:
    assert answers.encode_result(result) == body


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ({"a": [b"x"]}, "result['a'][0] is a bytes"),
        ({(1, 2): 3}, "a key of result is a tuple"),
    ],
)
def test_what_json_cannot_say_is_named_with_its_place(result: Any, place: str) -> None:
    with pytest.raises(answers.UnserializableResultError) as caught:
        answers.encode_result(result)
    assert place in str(caught.value)


def test_a_number_too_long_to_write_is_refused() -> None:
    with pytest.raises(answers.UnserializableResultError, match="cannot be said"):
        answers.encode_result(10**5000)


def test_an_exception_whose_text_cannot_be_had_is_named() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert answers.error_line(BadError()).endswith("BadError: (its text cannot be had: RuntimeError)")


def test_logs_are_bounded_and_say_what_is_missing() -> None:
    logs = LogBuffer(5)
    logs.output("stdout", b"abc")
    logs.output("stdout", b"defg")
    logs.line("INFO", "too late")
    assert json.loads(logs.to_json()) == [
        {"stream": "stdout", "text": "abcde"},
        {
            "stream": "log",
            "level": "WARNING",
            "text": "10 bytes dropped: plugins.max_log_bytes is 5",
            "dropped_bytes": 10,
        },
    ]


def test_discovery_lists_without_importing_and_reports_what_is_odd(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        (folder / "same.py").write_text("raise SystemExit")
    (first / "_helper.py").write_text("")
    (first / "bad name.py").write_text("")
    (first / "linked.py").symlink_to(second / "same.py")
    listing = discover((first, second, tmp_path / "3"))
    assert sorted(listing.plugins) == ["linked", "same"]
    assert listing.plugins["same"].path == first / "same.py"
    assert "leads out of the plugin folder" in listing.plugins["linked"].note
    assert [problem.partition(" ")[0] for problem in listing.problems] == [
        f"{first}/bad",
        f"{second}/same.py",
        "plugin",
    ]
