"""The command line: commands, flags, exit codes, one-line errors."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cnn_archs.errors import ClaimMissed, ConfigError, UserError

# What a command needs is imported inside it: `--help` and a wrong flag answer without jax.

EPILOG = """\
any key of the experiment is a flag too:  --config.epochs=2 --config.schedule.learning_rate=0.05
exit codes: 0 done; 1 an exact claim is not met; 2 usage or config; 3 data or checkpoint damaged or
missing; 4 the loss is not finite; 75 stopped by a signal and saved: run the same command again to
go on"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        arguments, overrides = parse(list(sys.argv[1:] if argv is None else argv))
        arguments.run(arguments, overrides)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.code
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return 0
    return 0


class Parser(argparse.ArgumentParser):
    """Errors are ConfigErrors, so that all of them leave by one door."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """(arguments, overrides `a.b=value`)."""
    keys: dict[str, list[str]] = {"config": [], "compare": []}
    rest: list[str] = []
    for a in argv:
        kind, dot, override = a.removeprefix("--").partition(".")
        is_key = a.startswith("--") and dot and kind in keys
        (keys[kind] if is_key else rest).append(override if is_key else a)
    arguments = parser().parse_args(rest)
    for kind, overrides in keys.items():
        if overrides and not hasattr(arguments, kind):
            raise ConfigError(f"{arguments.command} takes no --{kind}.{overrides[0]}")
    arguments.compare_overrides = keys["compare"]
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

    def command(run: Any, *flags: str) -> argparse.ArgumentParser:
        name, description = run.__name__.rstrip("_"), (run.__doc__ or "").split("\n")[0]
        c = commands.add_parser(
            name,
            help=description,
            description=description,
            epilog=EPILOG if "config" in flags else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        c.set_defaults(run=run)
        if "config" in flags:
            c.add_argument(
                "--config",
                default=None if run in (export, import_) else "lenet5_digits",
                metavar="EXPERIMENT",
                help="experiments/x.py[:argument], or the name of an installed one"
                + ("" if run in (export, import_) else " (default: %(default)s)"),
            )
        if "workdir" in flags:
            c.add_argument("--workdir", metavar="DIR", help="folder of the run")
        forms = ("text", "json", *{summarize: ("markdown",), predict: ("csv",)}.get(run, ()))
        c.add_argument("--format", choices=forms, default="text", help="of stdout")
        return c

    command(train, "config", "workdir")
    c = command(evaluate)
    c.add_argument("--workdir", metavar="DIR[,DIR]", help="folder of the run; several: an ensemble")
    c.add_argument(
        "--protocol",
        default="single",
        help="views of each image: single (default), mirror, ten_crop, grid_50, grid_150, "
        "grid_144, dense, multi_scale, dense+grid_150",
    )
    c.add_argument("--split", default="test", help="test, train or val (default: test)")
    c.add_argument(
        "--precise_stats",
        type=int,
        default=0,
        metavar="N",
        help="first recompute batch statistics over N training images",
    )
    c.add_argument(
        "--robustness",
        action="store_true",
        help="instead: error against how far test images are moved; robustness.json",
    )
    c = command(summarize, "config")
    c.add_argument("--train", action="store_true", help="count what only training needs")
    c.add_argument(
        "--compare",
        metavar="EXPERIMENT",
        help="a second network beside it; or the same one with --compare.key=value",
    )
    c = command(export, "config", "workdir")
    c.add_argument("--output", required=True, metavar="FILE", help="the .safetensors to write")
    c = command(import_, "config", "workdir")
    c.add_argument("file", metavar="FILE", help="a .safetensors of torchvision or of `export`")
    c = command(predict, "workdir")
    c.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    c.add_argument("--sheet", metavar="FILE", help="a PNG of the images with their classes")
    c = command(figures, "workdir")
    c.add_argument("--image", metavar="FILE", help="whose feature maps (default: a test image)")
    c = command(augment, "config")
    c.add_argument("--output", default="augment.png", metavar="FILE", help="(default: %(default)s)")
    c.add_argument("--images", type=int, default=8, help="rows (default: %(default)s)")
    c.add_argument("--variants", type=int, default=7, help="of each (default: %(default)s)")
    c = command(claims)
    c.add_argument("--results", metavar="DIR", help="what was run (default: the repository's own)")
    c = command(prepare)
    c.add_argument("dataset", metavar="DATASET", help="a tfds dataset, like mnist")
    c.add_argument("--data_dir", default="", help="default: $TFDS_DATA_DIR, else tfds' own")
    return p


def train(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Trains an experiment, or goes on where it was stopped; ends with a full evaluation."""
    from cnn_archs import config as configs

    config = configs.load(arguments.config, overrides)
    workdir = Path(arguments.workdir or default_workdir(arguments.config))

    from cnn_archs.analysis import figures, report
    from cnn_archs.train import guard, loop

    with guard.writing(workdir):
        result = loop.train(config, workdir)
        figures.curves(workdir)
    emit(arguments, result, report.result_table(result) + "\n\n" + report.files_table(workdir))


def evaluate(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluates the networks of workdirs, alone or as an ensemble, under a named protocol."""
    workdirs = workdirs_of(arguments)
    if arguments.precise_stats < 0:
        raise ConfigError(f"--precise_stats={arguments.precise_stats}: must be at least 1")
    if arguments.robustness:
        return robustness(arguments, workdirs)

    from cnn_archs.analysis import report
    from cnn_archs.evaluate import run

    result = run.evaluate(workdirs, arguments.protocol, arguments.split, arguments.precise_stats)
    emit(arguments, result, report.result_table(result))


def robustness(arguments: argparse.Namespace, workdirs: Sequence[Path]) -> None:
    """`evaluate --robustness`: of one run, under the protocol `single` of its test images."""
    asked = (arguments.protocol, arguments.split, arguments.precise_stats)
    if len(workdirs) > 1 or asked != ("single", "test", 0):
        raise ConfigError(
            "--robustness is of one run and the protocol single: no other --workdir, --protocol, "
            "--split or --precise_stats with it"
        )
    from cnn_archs.analysis import report
    from cnn_archs.evaluate import robustness
    from cnn_archs.train import guard

    with guard.writing(workdirs[0]):
        found = robustness.robustness(workdirs[0])
        guard.write_json(workdirs[0] / "robustness.json", found)
    emit(arguments, found, report.robustness_table(found))


def summarize(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the ledger of an experiment's network: sizes, parameters, multiply-adds."""
    from cnn_archs import config as configs

    choices = [(arguments.config, overrides)]
    if arguments.compare or arguments.compare_overrides:
        shared = [] if arguments.compare else overrides
        experiment = arguments.compare or arguments.config
        choices.append((experiment, [*shared, *arguments.compare_overrides]))
    configurations = [configs.load(experiment, keys) for experiment, keys in choices]

    from cnn_archs.analysis import ledger, summary
    from cnn_archs.setup import described, user_errors

    documents, ledgers = [], []
    for config in configurations:
        model, image_shape = described(config)
        with user_errors(f"model {config.model.name}"):
            ledgers.append(ledger.ledger(model, image_shape, arguments.train))
        documents.append(summary.document(config.model.name, image_shape, ledgers[-1]))
    if len(ledgers) == 1:
        tables = summary.tables(ledgers[0])
        emit(arguments, documents[0], summary.text(tables, arguments.format))
    else:
        a, b = (config.to_dict() for config in configurations)
        heads = (f"A: {a['model']['name']}", f"B: {b['model']['name']}")
        changed = ", ".join(configs.differences(a, b))
        tables = [summary.side_by_side(*ledgers)]
        text = f"{heads[0]}\n{heads[1]}, which differs in {changed or 'nothing'}\n\n"
        emit(arguments, documents, text + summary.text(tables, arguments.format))


def predict(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the most probable classes of image files."""
    missing = [f for f in arguments.images if not Path(f).exists()]
    if missing:
        raise ConfigError(f"there is no file {missing[0]}")
    if arguments.sheet:
        check_output(Path(arguments.sheet), "--sheet")
    from cnn_archs.data import folder
    from cnn_archs.evaluate import predict

    found: list[tuple[str, str]] = []
    for f in arguments.images:
        found += folder.unlabelled(f) if Path(f).is_dir() else [(Path(f).stem, f)]
    predictions = predict.predict(workdir_of(arguments), [Path(path) for _, path in found])
    if arguments.sheet:
        from cnn_archs import pictures
        from cnn_archs.train import guard

        sheet = Path(arguments.sheet)
        with guard.writing(sheet.parent):
            pictures.predictions(workdir_of(arguments), predictions, sheet)
    if arguments.format == "csv":  # as Kaggle's competitions take it
        rows = zip((name for name, _ in found), predictions, strict=True)
        print("id,label", *(f"{name},{p['top'][0]['label']}" for name, p in rows), sep="\n")
        return
    lines = [
        f"{p['file']}: "
        + ", ".join(f"{t['class']} {100 * t['probability']:.1f} %" for t in p["top"])
        for p in predictions
    ]
    emit(arguments, predictions, "\n".join(lines))


def figures(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draws a run's filters, confusions, mistakes and feature maps."""
    workdir = workdir_of(arguments)
    if arguments.image and not Path(arguments.image).is_file():
        raise ConfigError(f"there is no file {arguments.image}")

    from cnn_archs import pictures
    from cnn_archs.analysis import report
    from cnn_archs.train import guard

    with guard.writing(workdir):
        done = pictures.of_run(workdir, Path(arguments.image) if arguments.image else None)
    emit(arguments, done, report.aligned(list(done.items()), left=2))


def augment(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draws training images beside what an experiment's augmentation makes of them."""
    from cnn_archs import config as configs

    config = configs.load(arguments.config, overrides)
    output = Path(arguments.output)
    check_output(output)
    if min(arguments.images, arguments.variants) < 1:
        raise ConfigError("augment: --images and --variants must be at least 1")

    from cnn_archs import pictures
    from cnn_archs.train import guard

    with guard.writing(output.parent):
        done = pictures.variants(config, output, arguments.images, arguments.variants)
    text = f"{done['file']}: {done['images']} images and {done['variants']} variants of each"
    emit(arguments, done, text)


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


def prepare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Downloads a tfds dataset and prepares it as array_record (extra `prepare`)."""
    from cnn_archs.data import prepare

    done = prepare.prepare(arguments.dataset, arguments.data_dir)
    emit(arguments, done, f"{done['name']} is in {done['path']}")


def export(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Writes a run's weights, or an experiment's initial ones, as torch knows them."""
    from cnn_archs import config as configs

    if bool(arguments.workdir) == bool(arguments.config):
        raise ConfigError("export: what? --workdir=DIR of a run, or --config=EXPERIMENT")
    if overrides and not arguments.config:
        raise ConfigError(f"export: the run's config is fixed; no --config.{overrides[0]}")
    config = configs.load(arguments.config, overrides) if arguments.config else None
    workdir = workdir_of(arguments) if arguments.workdir else None

    from cnn_archs.train import guard
    from cnn_archs.weights import run

    output = Path(arguments.output)
    check_output(output)
    with guard.writing(output.parent):
        done = run.export(output, config, workdir)
    text = f"{done['file']}: {done['model']}, {done['parameters']:,} parameters at step "
    emit(arguments, done, text + f"{done['step']:,}, {done['tensors']} tensors")


def import_(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Makes a run from weights in torch's names, to be evaluated or trained on."""
    from cnn_archs import config as configs

    if not arguments.config:
        raise ConfigError("import: of which network? --config=EXPERIMENT")
    if not arguments.workdir:
        raise ConfigError("import: where to? --workdir=DIR")
    if not Path(arguments.file).is_file():
        raise ConfigError(f"there is no file {arguments.file}")
    config = configs.load(arguments.config, overrides)

    from cnn_archs.train import guard
    from cnn_archs.weights import run

    workdir = Path(arguments.workdir)
    with guard.writing(workdir):
        done = run.import_(Path(arguments.file), config, workdir)
    text = f"{done['workdir']}: {done['model']}, {done['parameters']:,} parameters"
    emit(arguments, done, text)


def check_output(output: Path, flag: str = "--output") -> None:
    """ConfigError where a file `output`, which `flag` names, cannot be."""
    if not output.resolve().parent.is_dir():
        raise ConfigError(f"{flag}: there is no folder {output.resolve().parent}")
    if output.is_dir():
        raise ConfigError(f"{flag}={output} is a folder: name a file")


def workdir_of(arguments: argparse.Namespace) -> Path:
    """The --workdir that must be there, with a run in it."""
    if not arguments.workdir:
        raise ConfigError(f"{arguments.command}: which run? --workdir=DIR")
    return run_in(Path(arguments.workdir))


def workdirs_of(arguments: argparse.Namespace) -> list[Path]:
    """Those of --workdir=A[,B,...], each with a run in it."""
    if not arguments.workdir:
        raise ConfigError(f"{arguments.command}: which run? --workdir=DIR")
    return [run_in(Path(workdir)) for workdir in arguments.workdir.split(",")]


def run_in(workdir: Path) -> Path:
    """`workdir`, if there is a run in it."""
    if not (workdir / "config.json").is_file():
        raise ConfigError(f"there is no run in {workdir} (no config.json)")
    return workdir


def default_workdir(experiment: str) -> str:
    """runs/<experiment>, with its argument where it has one."""
    path, _, argument = experiment.partition(":")
    stem = Path(path).name.removesuffix(".py")
    return f"runs/{stem}_{argument}" if argument else f"runs/{stem}"


def emit(arguments: argparse.Namespace, value: Any, text: str) -> None:
    """On stdout: `value` as one JSON document, or `text`."""
    print(json.dumps(value, indent=1) if arguments.format == "json" else text, flush=True)
