"""The tree of commands: what the lists say of a command is what the command says of itself."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click
import pytest

from bridge_app.cli.command import Command
from bridge_app.cli.lazy import Lazy, LazyGroup
from bridge_app.cli.root import root

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves(group: LazyGroup, *above: str) -> Iterator[tuple[tuple[str, ...], Lazy]]:
    for name, entry in group.entries.items():
        if isinstance(entry, Lazy):
            yield (*above, name), entry
        else:
            assert isinstance(entry, LazyGroup)
            yield from leaves(entry, *above, name)


LEAVES = dict(leaves(root))


def test_every_command_of_the_command_line_is_there() -> None:
    assert [" ".join(path) for path in LEAVES] == [
        "serve",
        "check-config",
        "plugins",
        "run",
        "executions list",
        "executions show",
        "executions tail",
        "storage info",
        "storage copy",
        "storage verify",
        "storage retry",
        "destinations list",
        "destinations test",
        "destinations retry",
        "export",
        "migrate",
        "cleanup",
    ]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_is_listed_under_its_name_and_with_its_first_line(path: tuple[str, ...]) -> None:
    command = LEAVES[path].load()
    assert (command.name, (command.help or "").splitlines()[0]) == (path[-1], LEAVES[path].summary)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_takes_config_and_json(path: tuple[str, ...]) -> None:
    options = {option for parameter in LEAVES[path].load().params for option in parameter.opts}
    assert {"--config", "--json"} <= options


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_examples_of_a_command_are_calls_of_it(path: tuple[str, ...]) -> None:
    command = LEAVES[path].load()
    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        program, *arguments = shlex.split(example)
        assert (program, tuple(arguments[: len(path)])) == ("webhook-bridge", path)
        command.make_context(program, arguments[len(path) :])


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_has_a_help(path: tuple[str, ...]) -> None:
    options = [parameter for parameter in LEAVES[path].load().params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
