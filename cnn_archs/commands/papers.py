"""Commands of the papers: what they state, and what is found of it."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_output, emit
from cnn_archs.errors import ClaimMissed, ConfigError


def declare(command: Declare) -> None:
    c = command(claims, forms=("text", "json", "markdown"))
    c.add_argument("--results", metavar="DIR", help="what was run (default: the repository's own)")
    c = command(report)
    c.add_argument(
        "paths", nargs="+", metavar="PATH", help="sweeps, runs, result files; or folders"
    )
    c.add_argument(
        "-o", "--output", default="report.html", metavar="FILE", help="(default: %(default)s)"
    )


def claims(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Checks what the papers state: exactly where it can be computed, else by what was run."""
    if arguments.results and not Path(arguments.results).is_dir():
        raise ConfigError(f"--results: there is no folder {arguments.results}")

    from cnn_archs.claims import results_page, schema, verdicts

    stated = schema.load_claims()
    results = Path(arguments.results) if arguments.results else verdicts.RESULTS
    found = verdicts.evaluate_claims(stated, results)
    if arguments.format == "markdown":
        print(results_page.results_markdown(stated, found, results))
    else:
        emit(arguments, found, verdicts.format_verdicts(stated, found))
    if failed := verdicts.failed_claims(found):
        raise ClaimMissed(f"exact claims are not met: {', '.join(failed)}")


def report(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Writes one self-contained HTML page of sweeps, runs and results: tables and figures."""
    output = Path(arguments.output)
    check_output(output)

    from cnn_archs.report import html

    done = html.write_report([Path(path) for path in arguments.paths], output)
    networks = sum(s["finished"] for s in done["sections"])
    missing = sum(s["missing"] for s in done["sections"])
    text = f"{done['file']}: {networks} networks" + (
        f", {missing} without a result" * bool(missing)
    )
    emit(arguments, done, text)
