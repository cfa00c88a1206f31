"""The command line: flags, exit codes, one-line errors. The commands are in `commands/`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cnn_archs.commands import data, jobs, networks, papers, planning, runs
from cnn_archs.errors import ConfigError, UserError
from cnn_archs.runtime import compilation_cache
from cnn_archs.runtime.console import print_status

FAMILIES = (runs, planning, jobs, networks, papers, data)  # in the order of --help

EPILOG = """\
any key of the experiment is a flag too:  --config.epochs=2 --config.schedule.learning_rate=0.05
exit codes: 0 done; 1 an exact claim is not met, or a cell of a sweep failed; 2 usage or config; 3
data or checkpoint damaged or missing; 4 the loss is not finite; 75 stopped by a signal and saved:
run the same command again to go on"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        arguments, overrides = parse(list(sys.argv[1:] if argv is None else argv))
        if arguments.compiles:
            compilation_cache.enable_cache()
        arguments.run(arguments, overrides)
    except UserError as e:
        print_status(f"error: {e}")
        return e.code
    except BrokenPipeError:  # the reader of our output, which is the last thing, went away
        sys.stderr.close()
        return 0
    return 0


class Parser(argparse.ArgumentParser):
    """Errors are ConfigErrors, so that all of them leave by one door."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """(arguments, overrides `a.b=value`)."""
    keys: dict[str, list[str]] = {"config": [], "compare": [], "slurm": []}
    rest: list[str] = []
    for a in argv:
        kind, dot, override = a.removeprefix("--").partition(".")
        is_key = a.startswith("--") and dot and kind in keys
        (keys[kind] if is_key else rest).append(override if is_key else a)
    arguments = parser().parse_args(rest)
    for kind, overrides in keys.items():
        if overrides and not hasattr(arguments, kind):
            raise ConfigError(f"{arguments.command} takes no --{kind}.{overrides[0]}")
    arguments.compare_overrides, arguments.slurm = keys["compare"], keys["slurm"]
    arguments.argv, arguments.main = argv, main
    return arguments, keys["config"]


def parser() -> Parser:
    p = Parser(
        prog="cnn-archs",
        description="The classic CNN papers in JAX: LeNet-5, AlexNet, VGG, GoogLeNet, ResNet.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        run: Any, *flags: str, forms: Sequence[str] = ("text", "json")
    ) -> argparse.ArgumentParser:
        """The parser of the command `run`, whose name and docstring it has.

        flags: config, with a default, or named_config, without one; workdir. forms: of its stdout.
        """
        name, description = run.__name__.rstrip("_"), (run.__doc__ or "").split("\n")[0]
        configured = "config" in flags or "named_config" in flags
        c = commands.add_parser(
            name,
            help=description,
            description=description,
            epilog=EPILOG if configured else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        c.set_defaults(run=run, compiles=True)
        if configured:
            c.add_argument(
                "--config",
                default="lenet5_digits" if "config" in flags else None,
                metavar="EXPERIMENT",
                help="experiments/x.py[:argument], or the name of an installed one"
                + (" (default: %(default)s)" if "config" in flags else ""),
            )
        if "workdir" in flags:
            c.add_argument("--workdir", metavar="DIR", help="folder of the run")
        c.add_argument("--format", choices=forms, default="text", help="of stdout")
        return c

    for family in FAMILIES:
        family.declare(command)
    return p
