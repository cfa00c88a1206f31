"""Commands that compare results with the papers: claims, the report, and classical methods."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_archs.commands.shared import (
    Declare,
    check_at_least,
    check_output,
    emit,
    require_run,
    user_path,
)
from cnn_archs.errors import ClaimMissed, ConfigError, escaped
from cnn_archs.runtime.console import counted, print_result
from cnn_archs.runtime.files import write_errors, write_json

if TYPE_CHECKING:
    from cnn_archs.claims.schema import Claims


def declare(command: Declare) -> None:
    c = command(
        claims,
        forms=("text", "json", "markdown"),
        examples=(
            "cnn-archs claims",
            "cnn-archs claims --format=markdown > RESULTS.md",
            "cnn-archs claims --missing --kind=h200",
        ),
    )
    c.add_argument(
        "--results",
        type=user_path,
        metavar="DIR",
        help="directory of result files (default: results/ of the repository)",
    )
    c.add_argument(
        "--missing",
        action="store_true",
        help="list the statements that wait for a run instead, with the commands that would decide "
        "them and the device hours",
    )
    c.add_argument(
        "--kind",
        default="",
        help="with --missing: the device type of the hours, as in plan --kind (default: cpu, this "
        "machine)",
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
    c = command(
        classical,
        examples=(
            "cnn-archs classical nearest_deslanted --output=nearest.json",
            "cnn-archs classical linear --dataset=digits",
            "cnn-archs classical lenet4_nearest --workdir=runs/lenet4_mnist_4",
        ),
        notes="Rows: linear, pairwise, nearest, pca_quadratic, rbf, tangent, svm, svm_virtual, and "
        "linear_deslanted and nearest_deslanted of deslanted images. lenet4_nearest and "
        "lenet4_local replace the last layer of a run of lenet4_mnist:4. They take from seconds to "
        "half an hour, svm_virtual hours.",
    )
    c.add_argument("row", metavar="ROW", help="row of the figure; see below")
    c.add_argument(
        "--dataset",
        default="",
        metavar="NAME",
        help="dataset whose images have one size (default: mnist, or that of the run)",
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR",
        help="directory of the run whose network a row of lenet4 takes",
    )
    c.add_argument(
        "--data_dir",
        default="",
        type=user_path,
        metavar="DIR",
        help="directory of tfds' datasets (default: $TFDS_DATA_DIR, else the default of tfds)",
    )
    c.add_argument(
        "--examples",
        type=int,
        default=0,
        metavar="N",
        help="number of training images to use, chosen by class; 0: all (default)",
    )
    c.add_argument(
        "--output", type=user_path, metavar="FILE", help="result file to write (default: none)"
    )


def claims(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Check the papers' statements: by computation where possible, otherwise by result files."""
    if arguments.results and not Path(arguments.results).is_dir():
        raise ConfigError(f"--results: there is no folder {arguments.results}")
    if arguments.kind and not arguments.missing:
        raise ConfigError(f"--kind={arguments.kind} is the device of --missing, which is not given")

    from cnn_archs.claims import results_page, schema, verdict_text, verdicts

    stated = schema.load_claims()
    results = Path(arguments.results) if arguments.results else verdicts.RESULTS
    if arguments.missing:
        return list_missing_runs(arguments, stated, results)
    found = verdicts.evaluate_claims(stated, results)
    if arguments.format == "markdown":
        print_result(results_page.results_markdown(stated, found, results))
    else:
        emit(arguments, found, verdict_text.format_verdicts(stated, found))
    if failed := verdicts.failed_claims(found):
        raise ClaimMissed(f"computed claims are not met: {', '.join(failed)}")


def list_missing_runs(arguments: argparse.Namespace, stated: "Claims", results: Path) -> None:
    """Run `claims --missing`: print what each statement without a result that counts waits for."""
    from cnn_archs.claims import missing, missing_text

    found = missing.list_missing(stated, results, missing.TimeKeeper(arguments.kind or "cpu"))
    if arguments.format == "markdown":
        return print_result(missing_text.missing_markdown(stated, found))
    emit(arguments, found, missing_text.missing_text(stated, found))


def report(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Write one self-contained HTML page with the tables and figures of sweeps and runs."""
    output = Path(arguments.output)
    check_output(output, ".html")

    from cnn_archs.report import html

    done = html.write_report([Path(path) for path in arguments.paths], output)
    networks = sum(s["finished"] for s in done["sections"])
    missing = sum(s["missing"] for s in done["sections"])
    text = f"{done['file']}: {counted(networks, 'network')}"
    if missing:
        text += f", {missing} without a result"
    emit(arguments, done, escaped(text))


def classical(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Test a method of LeCun et al. 1998 that is no network: a row of the paper's figure 9."""
    workdir = require_run(Path(arguments.workdir)) if arguments.workdir else None
    check_at_least(0, examples=arguments.examples)
    if arguments.output:
        check_output(Path(arguments.output), ".json")

    from cnn_archs.classical import run

    result = run.run_row(
        arguments.row, arguments.dataset, arguments.data_dir, arguments.examples, workdir
    )
    if arguments.output:
        with write_errors(Path(arguments.output).parent):
            write_json(Path(arguments.output), result)
    emit(arguments, result, run.format_row(result))
