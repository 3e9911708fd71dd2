"""docs/cli.md and the tree of commands say the same."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bridge_app.cli.command import READER_GONE, Command, FailureError, config_option, json_option
from bridge_app.cli.lazy import Lazy, LazyGroup
from bridge_app.cli.root import INTERRUPTED, root

TEXT = (Path(__file__).parents[2] / "docs/cli.md").read_text()
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in TEXT.split("\n## ")[1:])}
COMMON = {"config_path", "as_json"}


def commands(group: LazyGroup, path: str) -> dict[str, Command]:
    found: dict[str, Command] = {}
    for name, entry in group.entries.items():
        if isinstance(entry, Lazy):
            command = entry.load()
            assert isinstance(command, Command)
            found[f"{path} {name}"] = command
        else:
            assert isinstance(entry, LazyGroup)
            found |= commands(entry, f"{path} {name}")
    return found


COMMANDS = commands(root, "webhook-bridge")


def row(option: click.Option) -> str:
    """The line of the table that says what the command's own help says."""
    *short, long = sorted(option.opts, key=len)
    metavar = "" if option.is_flag else f" {option.metavar}"
    names = ", ".join([*(f"`{name}`" for name in short), f"`{long}{metavar}`"])
    default = f" `{option.default}` by default." if option.show_default else ""
    return f"| {names} | {option.help}{default} |"


def test_each_command_has_a_section_in_the_order_of_the_help() -> None:
    assert list(SECTIONS) == ["Every command", *COMMANDS]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_options_of_a_command_are_told_as_its_help_tells_them(path: str) -> None:
    options = [each for each in COMMANDS[path].params if isinstance(each, click.Option) and each.name not in COMMON]
    told = re.findall(r"^\| `-.*$", SECTIONS[path], re.MULTILINE)
    assert told == [row(option) for option in options]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_arguments_of_a_command_are_told(path: str) -> None:
    arguments = [(each.name or "").upper() for each in COMMANDS[path].params if isinstance(each, click.Argument)]
    assert not arguments or f"`{' '.join((path, *arguments))}`" in SECTIONS[path]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_examples_of_a_command_are_those_of_its_help(path: str) -> None:
    shown = re.findall(r"^```sh\n(.*?)^```$", SECTIONS[path], re.MULTILINE | re.DOTALL)
    assert shown == ["".join(f"{example}\n" for example in COMMANDS[path].examples)]


def test_the_options_of_every_command_are_told() -> None:
    @config_option
    @json_option
    def function() -> None: ...

    assert {name for option in function.__click_params__ for name in option.opts} == {"-c", "--config", "--json"}  # type: ignore[attr-defined]
    told = re.findall(r"`(-[-a-z]+)", SECTIONS["Every command"].partition("BRIDGE__")[0])
    assert told == ["-c", "--config", "--json", "--help"]


def test_the_exit_statuses_are_told() -> None:
    told = [int(number) for number in re.findall(r"^\| (\d+) \| ", SECTIONS["Every command"], re.MULTILINE)]
    assert told == [0, 1, FailureError.exit_code, INTERRUPTED, READER_GONE]
