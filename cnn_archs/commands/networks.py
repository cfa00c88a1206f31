"""Commands of networks: what one costs, and its weights from and to torch."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_output, emit, workdir_of
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(summarize, "config", forms=("text", "json", "markdown"))
    c.add_argument("--train", action="store_true", help="count what only training needs")
    c.add_argument(
        "--compare",
        metavar="EXPERIMENT",
        help="a second network beside it; or the same one with --compare.key=value",
    )
    c = command(export, "named_config", "workdir")
    c.add_argument("--output", required=True, metavar="FILE", help="the .safetensors to write")
    c = command(import_, "named_config", "workdir")
    c.add_argument("file", metavar="FILE", help="a .safetensors of torchvision or of `export`")


def summarize(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the sizes, parameters and multiply-adds of each layer of an experiment's network."""
    from cnn_archs import config as configs

    choices = [(arguments.config, overrides)]
    if arguments.compare or arguments.compare_overrides:
        shared = [] if arguments.compare else overrides
        experiment = arguments.compare or arguments.config
        choices.append((experiment, [*shared, *arguments.compare_overrides]))
    configurations = [configs.load_config(experiment, keys) for experiment, keys in choices]

    from cnn_archs import roles
    from cnn_archs.errors import config_errors
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.models.summary import summarize as layer_rows
    from cnn_archs.planning import summary_tables

    documents, summaries = [], []
    outlines = [resolve_settings(config) for config in configurations]
    for one in outlines:
        with config_errors(f"model {one.name}"):
            summaries.append(layer_rows(one.model, one.image_shape, arguments.train))
        documents.append(summary_tables.summary_document(one.name, one.image_shape, summaries[-1]))
    if len(summaries) == 1:
        tables = summary_tables.summary_tables(summaries[0])
        emit(arguments, documents[0], summary_tables.format_tables(tables, arguments.format))
    else:
        a, b = outlines
        heads = (f"A: {a.name}", f"B: {b.name}")
        changed = ", ".join(roles.differences(a.config, b.config))
        tables = [summary_tables.comparison_table(*summaries)]
        text = f"{heads[0]}\n{heads[1]}, which differs in {changed or 'nothing'}\n\n"
        emit(arguments, documents, text + summary_tables.format_tables(tables, arguments.format))


def export(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Writes a run's weights, or an experiment's initial ones, as torch knows them."""
    from cnn_archs import config as configs

    if bool(arguments.workdir) == bool(arguments.config):
        raise ConfigError("export: what? --workdir=DIR of a run, or --config=EXPERIMENT")
    if overrides and not arguments.config:
        raise ConfigError(f"export: the run's config is fixed; no --config.{overrides[0]}")
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.weights import export as weights

    workdir = workdir_of(arguments) if arguments.workdir else None
    config = (
        RunDir(workdir).config() if workdir else configs.load_config(arguments.config, overrides)
    )

    output = Path(arguments.output)
    check_output(output)
    with write_errors(output.parent):
        done = weights.export(output, resolve_settings(config), workdir)
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
    config = configs.load_config(arguments.config, overrides)

    from cnn_archs.experiment import resolve_settings
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.weights import export as weights

    workdir = Path(arguments.workdir)
    with write_errors(workdir):
        done = weights.import_(Path(arguments.file), resolve_settings(config), workdir)
    text = f"{done['workdir']}: {done['model']}, {done['parameters']:,} parameters"
    emit(arguments, done, text)
