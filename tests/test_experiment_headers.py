"""The header of an experiment: what it expects, and the command that measures it.

A command stands on a line of its own; a line that begins with a flag continues it. The parser of
the program reads each, and it must be about the experiment in whose header it stands.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.commands.shared import default_workdir
from cnn_archs.config_files import EXPERIMENTS
from cnn_archs.errors import UserError
from cnn_archs.evaluate import views
from cnn_archs.experiment import resolve_settings
from cnn_archs.experiment_inputs import make_crop
from cnn_archs.models.summary import summarize, totals

PROGRAM = re.compile(r"(?:cnn-archs|python launch\.py) (.+)")
FILES = sorted(path for path in EXPERIMENTS.glob("[!_]*.py") if path.stem != "base")
HEADERS = {path.stem: ast.get_docstring(ast.parse(path.read_text())) or "" for path in FILES}
FIGURE = re.compile(r"\d %|percent|points")


def commands(text):
    """The command lines in `text`, each as a list of arguments without the program."""
    found = []
    for line in map(str.strip, text.splitlines()):
        if match := PROGRAM.fullmatch(line):
            found.append(match[1])
        elif line.startswith("--") and found:
            found[-1] += f" {line}"
    return [shlex.split(command) for command in found]


def expected(header):
    """The paragraph that begins with `Expected:`; its further lines are indented."""
    _, found, rest = header.partition("\nExpected:")
    lines = rest.splitlines()
    after = [i for i, line in enumerate(lines) if i and not line.startswith("    ")]
    return found + "\n".join(lines[: after[0] if after else None])


def experiment_of(arguments):
    """The experiment that a command is about, which its --config or its --workdir names.

    Raises LookupError if there is none of that name.
    """
    if "config" in arguments and arguments.config:
        return Path(arguments.config.partition(":")[0]).stem, arguments.config
    for name in HEADERS:
        workdir = default_workdir(name)
        if arguments.workdir == workdir or arguments.workdir.startswith(f"{workdir}_"):
            argument = arguments.workdir.removeprefix(workdir)[1:]
            experiment = f"{name}:{argument}" if argument else name
            try:
                configs.load_config(experiment, [])
            except UserError:  # `resnet_imagenet_50` is not the argument imagenet_50 of resnet
                continue
            return name, experiment
    raise LookupError(arguments.workdir)


@pytest.mark.parametrize("name", HEADERS)
def test_each_command_is_accepted_and_names_the_experiment(name):
    found = commands(HEADERS[name])
    assert found[0][0] == "train" and f"experiments/{name}.py" in found[0][1]
    for command in found:
        arguments, overrides = cli.parse(command)
        stem, experiment = experiment_of(arguments)
        assert stem == name, command
        config = configs.load_config(experiment, overrides)
        if arguments.command == "evaluate":
            settings = resolve_settings(config)
            crop = make_crop(config, settings.image_shape)
            assert views.protocol_passes(arguments.protocol, crop, settings.test_scales)


@pytest.mark.parametrize("name", HEADERS)
def test_what_is_expected_has_its_command_beside_it(name):
    paragraph = expected(HEADERS[name])
    assert paragraph, "the header has no line that begins with Expected:"
    measured = [command[0] for command in commands(paragraph)]
    prose = " ".join(line for line in paragraph.split("\n") if "cnn-archs" not in line)
    assert ("evaluate" in measured) == bool(FIGURE.search(prose)), prose
    counted = "parameters" in prose or "multiply-adds" in prose
    assert ("summarize" in measured) == counted, prose


@pytest.mark.parametrize("name", HEADERS)
def test_the_counts_are_those_that_summarize_prints(name):
    paragraph = expected(HEADERS[name])
    for command in commands(paragraph):
        if command[0] == "summarize":
            arguments, overrides = cli.parse(command)
            settings = resolve_settings(configs.load_config(arguments.config, overrides))
            rows = summarize(settings.model, settings.image_shape, arguments.train)
            counts, said = totals(rows), paragraph.replace("\n", " ")
            assert f"{counts['params']:,} parameters" in said or "parameters" not in said
            for number in re.findall(r"([\d,]{9,}) +multiply-adds", said):
                assert number == f"{counts['macs']:,}" or arguments.train


def test_a_command_is_found_with_the_lines_that_continue_it():
    text = "a\ncnn-archs evaluate --workdir=runs/a\n    --protocol=dense\nand cnn-archs plan\n--b"
    assert commands(text) == [["evaluate", "--workdir=runs/a", "--protocol=dense", "--b"]]
    assert expected("x\nExpected: 1 %\n    2\nno\n    3") == "\nExpected: 1 %\n    2"


@pytest.mark.parametrize(
    "command", ["evaluate --workdir=runs/nothing", "evaluate --workdir=runs/vgg_imagenet_Z"]
)
def test_a_command_of_no_experiment_is_noticed(command):
    with pytest.raises(LookupError):
        experiment_of(cli.parse(command.split())[0])
