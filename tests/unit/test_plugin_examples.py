"""The example plugins say what they are shipped to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge_app.plugins import loader
from bridge_app.plugins.contract import Event

FOLDER = Path(__file__).parents[2] / "plugins"


def ask(name: str, data: Any, **headers: str) -> Any:
    path = FOLDER / f"{name}.py"
    loader.install_aliases()
    plugin = loader.load(name, key="1", path=str(path), source=path.read_bytes())
    return plugin.call(
        Event(data=data, headers={k.replace("_", "-"): v for k, v in headers.items()}), wait=lambda _: None
    )


def test_echo_answers_with_what_it_got() -> None:
    assert ask("echo", {"a": 1}) == {"method": "POST", "data": {"a": 1}, "query": {}}


def test_greet_wants_a_name() -> None:
    assert ask("greet", {"name": "Ada"}) == {"greeting": "Hello, Ada!"}
    with pytest.raises(ValueError, match="a name is needed"):
        ask("greet", {})


@pytest.mark.parametrize(
    ("event", "data", "summary"),
    [
        ("ping", {"zen": "Keep it logically awesome."}, "GitHub says: Keep it logically awesome."),
        (
            "push",
            {"ref": "refs/heads/main", "pusher": {"name": "ada"}, "commits": [{"message": "Fix it\n\nLong"}]},
            "ada pushed 1 commit to main of o/r: Fix it",
        ),
        (
            "issues",
            {"action": "opened", "sender": {"login": "ada"}, "issue": {"number": 7, "title": "It breaks"}},
            "ada opened #7 'It breaks'",
        ),
        ("star", {"action": "created", "sender": {"login": "ada"}}, "star created by ada"),
    ],
)
def test_github_sums_up_an_event(event: str, data: dict[str, Any], summary: str) -> None:
    answer = ask("github", {"repository": {"full_name": "o/r"}, **data}, x_github_event=event)
    assert answer == {"event": event, "repository": "o/r", "summary": summary}
