"""`--help` of each command has examples that parse, names its units and fits a terminal."""

import re
import shlex
from pathlib import Path

import pytest

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.sweeps import grid, sweep_file

COMMANDS = [
    "train",
    "evaluate",
    "predict",
    "figures",
    "neighbours",
    "sweep",
    "plan",
    "submit",
    "summarize",
    "export",
    "import",
    "claims",
    "report",
    "classical",
    "prepare",
    "augment",
    "list",
]


@pytest.fixture
def help_of(capsys, monkeypatch):
    """help_of(*command) -> what `cnn-archs COMMAND --help` prints in 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def printed(*command: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return printed


def examples_in(page: str) -> list[str]:
    """The command lines under `examples:`."""
    return re.findall(r"^  (cnn-archs .*)$", page.partition("\nexamples:\n")[2], re.M)


def test_every_command_is_listed(help_of):
    assert re.findall(r"^    ([a-z]+)\b", help_of(), re.M) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_an_example_and_each_example_is_right(command, help_of):
    examples = examples_in(help_of(command))
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        assert words[0] == command
        arguments, overrides = cli.parse(words)
        sweep = arguments.config if command == "sweep" else vars(arguments).get("sweep")
        if sweep:
            assert grid.list_cells(sweep_file.load_sweep(sweep), Path("runs"), overrides)
        elif getattr(arguments, "config", None):
            configs.load_config(arguments.config, overrides)
        if getattr(arguments, "compare", None):
            configs.load_config(arguments.compare, arguments.compare_overrides)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_argument_has_a_help_text_in_plain_words(command, help_of):
    page = help_of(command)
    texts = re.findall(r"^  (?:-\S.*?|[A-Z]+|[a-z]+)(?:  +|\n {24})(\S.*)$", page, re.M)
    flags = re.findall(r"^  (-\S+)", page, re.M)
    assert len(texts) >= len(flags) >= 2
    assert not [text for text in texts if re.match(r"of |\(default", text)]


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_only_examples_are_wider_than_a_terminal(command, help_of):
    page = help_of(*command)
    wide = [line for line in page.splitlines() if len(line) > 80]
    assert not [line for line in wide if not line.startswith("  cnn-archs ")]


def test_a_command_has_the_exit_codes_that_it_can_end_with(help_of):
    def codes(*command: str) -> list[int]:
        return [int(n) for n in re.findall(r"^  (\d+) ", help_of(*command), re.M)]

    assert codes() == [0, 1, 2, 3, 4, 75]
    found = {command: set(codes(command)) for command in COMMANDS}
    assert all({0, 2, 3, 75} <= of_one for of_one in found.values())
    with_1 = ["train", "evaluate", "predict", "sweep", "claims"]
    assert [c for c in COMMANDS if 1 in found[c]] == with_1
    assert "train" in [c for c in COMMANDS if 4 in found[c]] and 4 not in found["list"]
    assert "base.py" not in "".join(help_of(c) for c in COMMANDS)  # a wheel's user has none
