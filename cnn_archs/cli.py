"""The command line: flags, exit codes and one-line errors. The commands are in `commands/`."""

import argparse
import logging
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NoReturn

from cnn_archs import __version__
from cnn_archs.commands import (
    data,
    jobs,
    listing,
    networks,
    papers,
    planning,
    predictions,
    runs,
    sweeps,
)
from cnn_archs.config_files import DEFAULT_EXPERIMENT
from cnn_archs.config_keys import (
    ALIASES,
    flatten,
    leaf_of,
    rename_old_override,
    unknown_message,
)
from cnn_archs.errors import ConfigError, UserError, closest_word
from cnn_archs.runtime import compilation_cache
from cnn_archs.runtime.console import print_notes, print_result, print_status
from cnn_archs.runtime.devices import shorten_plugin_errors
from cnn_archs.runtime.system_errors import system_errors

# In the order of --help.
FAMILIES = (runs, predictions, sweeps, planning, jobs, networks, papers, data, listing)

OVERRIDES = (
    "Any key of the experiment is a flag too: --config.KEY=VALUE, as in --config.epochs=2 or "
    "--config.schedule.learning_rate=0.05. 'cnn-archs train --config=EXPERIMENT --print_config' "
    "prints all keys of an experiment."
)

EXIT_STATUS = {
    0: "success",
    1: "a claim is not met, a cell of a sweep failed, or another process ended",
    2: "the command line or the config is wrong",
    3: "data or a checkpoint is missing or damaged",
    4: "the loss is not finite",
    75: "stopped by a signal: run the same command again, which resumes a training",
}
ANOTHER_PROCESS = "another process of the run has ended, or cannot be reached any more"
NOT_FINITE = {4: "the weights or outputs of the network are not finite"}
# What a code of one command says; every command can end with 0, 2, 3 and 75.
EXIT_STATUS_OF: dict[str, dict[int, str]] = {
    "claims": {1: "a computed claim is not met"},
    "sweep": {1: "a cell of the sweep failed", 75: "stopped by a signal: the same command resumes"},
    "train": {
        1: ANOTHER_PROCESS,
        4: "the loss, a gradient or a weight is not finite",
        75: "stopped by a signal: the same command resumes",
    },
    "prepare": {75: "stopped by a signal: the same command resumes"},
    **dict.fromkeys(("figures", "neighbours", "export"), NOT_FINITE),
    **dict.fromkeys(("evaluate", "predict"), {1: ANOTHER_PROCESS, **NOT_FINITE}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    argv: the arguments without the program's name; by default those of this process.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    shorten_plugin_errors()
    try:
        with system_errors():
            arguments, overrides = parse(list(sys.argv[1:] if argv is None else argv))
            if arguments.compiles:
                compilation_cache.enable_cache()
            arguments.run(arguments, overrides)
    except UserError as e:
        print_status(f"error: {e}")
        return e.code
    except BrokenPipeError:  # the reader of stdout, which is written last, has closed it
        return 0
    return 0


class Parser(argparse.ArgumentParser):
    """Raises errors as ConfigError, so that `main` prints them like all others."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise ConfigError for a command or a choice that there is not, with the one meant."""
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            if isinstance(action.metavar, str) and not action.option_strings:
                raise ConfigError(
                    unknown_message(self.prog, value, names, what=action.metavar.lower())
                )
            raise ConfigError(unknown_message(action.option_strings[0], value, names))

    def print_help(self, file: Any = None) -> None:
        print_result(self.format_help().rstrip())


class ShowVersion(argparse.Action):
    """Prints the versions of this package, of jax and of Python, and exits."""

    def __call__(self, *arguments: Any) -> NoReturn:
        import importlib.metadata

        try:
            jax = f"jax {importlib.metadata.version('jax')}"
        except importlib.metadata.PackageNotFoundError:
            jax = "no jax"
        print_result(f"cnn-archs {__version__}, {jax}, Python {sys.version.split()[0]}")
        sys.exit(0)


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line -> (arguments, overrides of the config as `a.b=value`).

    Keys of older versions get their present names, and a note says so.
    Raises ConfigError for an unknown or malformed flag.
    """
    keys: dict[str, list[str]] = {"config": [], "compare": [], "slurm": []}
    rest: list[str] = []
    for argument in argv:
        section, dot, override = argument.removeprefix("--").partition(".")
        if argument.startswith("--") and dot and section in keys:
            keys[section].append(override)
        else:
            rest.append(with_underscores(argument))
    arguments, unknown = build_parser().parse_known_args(rest)
    if unknown:
        unrecognized(unknown, arguments, keys["config"])
    for section, overrides in keys.items():
        if overrides and not hasattr(arguments, section):
            raise ConfigError(f"{arguments.command} takes no --{section}.{overrides[0]}")
    arguments.compare_overrides, arguments.slurm = keys["compare"], keys["slurm"]
    arguments.argv, arguments.main = argv, main
    overrides = [rename_old_override(override) for override in keys["config"]]
    renamed = [pair for pair in zip(keys["config"], overrides, strict=True) if pair[0] != pair[1]]
    print_notes(f"--config.{old} is --config.{new} now" for old, new in renamed)
    return arguments, overrides


def unrecognized(
    unknown: list[str], arguments: argparse.Namespace, overrides: list[str]
) -> NoReturn:
    """Raise ConfigError for `unknown` arguments, with what the first was meant to be.

    arguments: the others. overrides: of the config, as they were given.
    """
    first, hint = unknown[0], ""
    flag, equals, value = first.removeprefix("--").partition("=")
    open_keys = [key for key in overrides if "=" not in key]
    if first.startswith("--"):
        meant = meant_flag(flag, arguments.parser, takes_config="config" in arguments)
        hint = f"; did you mean {meant}{equals}{value}?" if meant else ""
    elif open_keys:
        hint = f"; did you mean --config.{open_keys[0]}={first}?"
    raise ConfigError(
        f"unrecognized arguments: {' '.join(unknown)}{hint} (see {arguments.parser.prog} --help)"
    )


def meant_flag(flag: str, parser: argparse.ArgumentParser, *, takes_config: bool) -> str:
    """Return the flag of `parser` that `flag`, without its dashes, was meant to be, or "".

    takes_config: whether the keys of a config are flags too; one that ends like `flag` comes first.
    """
    keys = config_keys() if takes_config else []
    named = [key for key in (ALIASES.get(flag), flag) if key in keys]
    if found := [*named, *(key for key in keys if leaf_of(key) == flag)]:
        return f"--config.{found[0]}"
    flags = [name.removeprefix("--") for name in parser._option_string_actions]
    if near := closest_word(flag, flags):
        return f"--{near}"
    leaves = {leaf_of(key): key for key in reversed(keys)}
    near = closest_word(flag, leaves)
    return f"--config.{leaves[near]}" if near else ""


def config_keys() -> list[str]:
    """Return the keys of all configs, those that every one has first."""
    from cnn_archs import config as configs

    return [*flatten(configs.base_module().DEFAULTS), *configs.all_keys()]


def with_underscores(argument: str) -> str:
    """Return a flag with underscores for the hyphens in its name: `--dry-run` is `--dry_run`."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def build_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="cnn-archs",
        description=wrap(
            "Train, evaluate and compare the networks of the classic CNN papers in JAX: LeNet-5, "
            "AlexNet, VGG, GoogLeNet and ResNet."
        ),
        epilog=f"'cnn-archs COMMAND --help' describes a command and gives examples.\n\n"
        f"{wrap(OVERRIDES)}\n\n{exit_status(EXIT_STATUS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=ShowVersion, nargs=0, help="print the versions and exit"
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True
    )
    for family in FAMILIES:
        family.declare(partial(add_command, commands))
    return parser


def add_command(
    commands: Any,
    run: Callable[[argparse.Namespace, list[str]], None],
    *,
    examples: Sequence[str],
    notes: str = "",
    config: Literal["none", "default", "named", "sweep"] = "none",
    forms: Sequence[str] = ("text", "json"),
) -> argparse.ArgumentParser:
    """Add the command `run`, which has that function's name and the first line of its docstring.

    examples: whole command lines for --help. notes: a paragraph for --help.
    config: what --config names: an experiment with a default, an experiment without one, or a
    sweep, which is required. forms: choices of --format.
    Returns the command's parser, for further arguments.
    """
    name, description = run.__name__.rstrip("_"), (run.__doc__ or "").partition("\n")[0]
    lines = "\n".join(f"  {example}" for example in examples)
    overrides = OVERRIDES if config != "none" else ""
    parts = [f"examples:\n{lines}", *(wrap(part) for part in (overrides, notes) if part)]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=description,
        description=wrap(description),
        epilog="\n\n".join([*parts, exit_status_of(name)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, compiles=True, parser=parser)
    if config in ("default", "named"):
        default = DEFAULT_EXPERIMENT if config == "default" else None
        parser.add_argument(
            "--config",
            default=default,
            metavar="EXPERIMENT",
            help="experiment: a file experiments/X.py[:ARGUMENT], or the name of an installed one"
            + (f" (default: {default})" if default else ""),
        )
    elif config == "sweep":
        parser.add_argument(
            "--config",
            required=True,
            metavar="SWEEP",
            help="sweep: a file experiments/sweeps/X.py[:ARGUMENT], or the name of an installed "
            "one",
        )
    parser.add_argument(
        "--format", choices=forms, default="text", help="output format (default: text)"
    )
    return parser


def exit_status_of(command: str) -> str:
    """Return the lines of --help about the codes with which a command can end."""
    common = {**{code: EXIT_STATUS[code] for code in (0, 2, 3)}, 75: "stopped by a signal"}
    codes = {**common, **EXIT_STATUS_OF.get(command, {})}
    return exit_status({code: codes[code] for code in sorted(codes)})


def exit_status(codes: Mapping[int, str]) -> str:
    """Return the lines of --help about exit codes."""
    return "\n".join(["exit status:", *(f"  {code:<3} {says}" for code, says in codes.items())])


def wrap(paragraph: str) -> str:
    """Break a paragraph of --help into lines of at most 79 characters."""
    return textwrap.fill(paragraph, 79, break_on_hyphens=False)
