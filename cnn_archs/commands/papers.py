"""Commands of the papers: what they state, and what is found of it."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, emit
from cnn_archs.errors import ClaimMissed, ConfigError


def declare(command: Declare) -> None:
    c = command(claims)
    c.add_argument("--results", metavar="DIR", help="what was run (default: the repository's own)")


def claims(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Checks what the papers state: exactly where it can be computed, else by what was run."""
    if arguments.results and not Path(arguments.results).is_dir():
        raise ConfigError(f"--results: there is no folder {arguments.results}")

    from cnn_archs.analysis import claims, statements

    stated = statements.load()
    results = Path(arguments.results) if arguments.results else claims.RESULTS
    found = claims.evaluate(stated, results)
    emit(arguments, found, claims.text(stated, found))
    if failed := claims.failures(found):
        raise ClaimMissed(f"exact claims are not met: {', '.join(failed)}")
