"""Commands that compare results with the papers: claims, and the report of runs."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_output, emit, user_path
from cnn_archs.errors import ClaimMissed, ConfigError, escaped
from cnn_archs.runtime.console import print_result


def declare(command: Declare) -> None:
    c = command(
        claims,
        forms=("text", "json", "markdown"),
        examples=("cnn-archs claims", "cnn-archs claims --format=markdown > RESULTS.md"),
    )
    c.add_argument(
        "--results",
        type=user_path,
        metavar="DIR",
        help="directory of result files (default: results/ of the repository)",
    )
    c = command(
        report,
        examples=(
            "cnn-archs report runs/degradation -o report.html",
            "cnn-archs report runs/lenet5_digits results/mnist/lenet5.json",
        ),
    )
    c.add_argument(
        "paths",
        nargs="+",
        type=user_path,
        metavar="PATH",
        help="directory of a sweep or run, result file, or directory that contains such",
    )
    c.add_argument(
        "-o",
        "--output",
        default="report.html",
        type=user_path,
        metavar="FILE",
        help="page to write (default: %(default)s)",
    )


def claims(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Check the papers' statements: by computation where possible, otherwise by result files."""
    if arguments.results and not Path(arguments.results).is_dir():
        raise ConfigError(f"--results: there is no folder {arguments.results}")

    from cnn_archs.claims import results_page, schema, verdicts

    stated = schema.load_claims()
    results = Path(arguments.results) if arguments.results else verdicts.RESULTS
    found = verdicts.evaluate_claims(stated, results)
    if arguments.format == "markdown":
        print_result(results_page.results_markdown(stated, found, results))
    else:
        emit(arguments, found, verdicts.format_verdicts(stated, found))
    if failed := verdicts.failed_claims(found):
        raise ClaimMissed(f"exact claims are not met: {', '.join(failed)}")


def report(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Write one self-contained HTML page with the tables and figures of sweeps and runs."""
    output = Path(arguments.output)
    check_output(output)

    from cnn_archs.report import html

    done = html.write_report([Path(path) for path in arguments.paths], output)
    networks = sum(s["finished"] for s in done["sections"])
    missing = sum(s["missing"] for s in done["sections"])
    text = f"{done['file']}: {networks} networks"
    if missing:
        text += f", {missing} without a result"
    emit(arguments, done, escaped(text))
