"""Commands about one network: its size, and its weights from and to torch."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import (
    Declare,
    check_output,
    declare_data_dir,
    declare_normalization,
    emit,
    require_workdir,
    user_path,
)
from cnn_archs.errors import ConfigError, escaped
from cnn_archs.runtime.console import print_notes


def declare(command: Declare) -> None:
    c = command(
        summarize,
        config="default",
        forms=("text", "json", "markdown"),
        examples=(
            "cnn-archs summarize --config=vgg_imagenet:E --format=markdown",
            "cnn-archs summarize --config=resnet_imagenet:50 --compare=resnet_imagenet:50_v1_5",
            "cnn-archs summarize --config=googlenet_imagenet --compare.model.module=naive",
        ),
        notes="--compare.KEY=VALUE compares the network with itself under that override, and "
        "overrides a key of the second network if --compare=EXPERIMENT is given.",
    )
    c.add_argument("--train", action="store_true", help="include layers that only training uses")
    c.add_argument(
        "--compare", metavar="EXPERIMENT", help="put the network of this experiment beside it"
    )
    c = command(
        export,
        config="named",
        examples=(
            "cnn-archs export --workdir=runs/resnet50 --output=resnet50.safetensors",
            "cnn-archs export --config=resnet_cifar10:20 --output=initial.safetensors",
            "cnn-archs export --workdir=runs/lenet5 --output=lenet5.safetensors --dtype=float16 "
            "--card",
        ),
    )
    c.add_argument(
        "--workdir", type=user_path, metavar="DIR", help="directory of the run to export"
    )
    c.add_argument(
        "--output",
        required=True,
        type=user_path,
        metavar="FILE",
        help="file to write, whose name ends in .safetensors",
    )
    c.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of the numbers in the file; float16 takes half of the space",
    )
    c.add_argument(
        "--card",
        action="store_true",
        help="also write FILE.json and FILE.md, with what made the weights and with the test error "
        "of FILE as stored; the run must be trained to its end; 'predict' and 'evaluate' then take "
        "--weights=FILE",
    )
    declare_data_dir(c)
    c = command(
        import_,
        config="named",
        examples=(
            "cnn-archs import resnet50.pth --config=resnet_imagenet:50_v1_5 "
            "--normalization=imagenet --workdir=runs/imported",
            "cnn-archs import resnet20.th --config=resnet_cifar10:20 --config.model.num_classes=7 "
            "--new_head --workdir=runs/tuned",
        ),
        notes="Weights are of use only with the input that they were trained on: say it with "
        "--normalization, or with --config.data.mean and --config.data.std.",
    )
    declare_normalization(c)
    c.add_argument(
        "--strides",
        choices=("v1",),
        default="",
        help="say that a file for resnet50, 101 or 152 has the strides of the paper; torchvision's "
        "have those of resnet50_v1_5, and a file does not show which",
    )
    c.add_argument(
        "--new_head",
        action="store_true",
        help="begin with a new last layer, for another number of classes or other classes",
    )
    c.add_argument("--workdir", type=user_path, metavar="DIR", help="directory of the run to make")
    c.add_argument(
        "file",
        type=user_path,
        metavar="FILE",
        help="Caffe's .caffemodel, or a file of torch.save (.pth, .pt, .th) or safetensors file "
        "with torchvision's or akamaster's names, or one that 'export' wrote",
    )


def summarize(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Print the output size, parameters and multiply-adds of each layer of a network."""
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
    """Write a run's weights, or an experiment's initial ones, in torch's names and layout."""
    from cnn_archs import config as configs

    if bool(arguments.workdir) == bool(arguments.config):
        raise ConfigError(
            "export needs either --workdir=DIR (a trained run) or --config=EXPERIMENT"
        )
    if overrides and not arguments.config:
        raise ConfigError(
            f"export --workdir uses the config of the run: it takes no --config.{overrides[0]}"
        )
    from cnn_archs.conversion import export as weights
    from cnn_archs.conversion.stored import SUFFIX
    from cnn_archs.data.record import read_record
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.files import write_errors

    workdir = require_workdir(arguments) if arguments.workdir else None
    if workdir:
        config, recorded = RunDir(workdir).config(), read_record(RunDir(workdir))
    else:
        config, recorded = configs.load_config(arguments.config, overrides), None

    output = Path(arguments.output)
    check_output(output, SUFFIX)
    if arguments.card:
        if not workdir:
            raise ConfigError("--card needs --workdir=DIR, a run that is trained to its end")
        from cnn_archs.conversion import card

        card.check_card(workdir)
    with write_errors(output.parent):
        settings = resolve_settings(config, recorded)
        done = weights.export(output, settings, workdir, arguments.dtype)
        if workdir and arguments.card:
            done["card"] = card.write_card(output, workdir, arguments.dtype, arguments.data_dir)
    text = f"{done['file']}: {done['model']}, {done['parameters']:,} parameters at step "
    emit(arguments, done, escaped(text + f"{done['step']:,}, {done['tensors']} tensors"))


def import_(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Make a run from weights of a file of torch or Caffe, to evaluate or to train further."""
    from cnn_archs import config as configs
    from cnn_archs.conversion.caffe_import import input_overrides

    if not arguments.config:
        raise ConfigError("import needs --config=EXPERIMENT, whose network the weights are for")
    if not arguments.workdir:
        raise ConfigError("import needs --workdir=DIR, the folder of the new run")
    if not Path(arguments.file).is_file():
        raise ConfigError(f"there is no file {arguments.file}")
    file = Path(arguments.file)
    named = [*input_overrides(file, arguments.normalization, overrides), *overrides]
    config = configs.load_config(arguments.config, named)

    from cnn_archs.conversion import import_weights
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.runtime.files import write_errors

    model = configs.to_plain_dict(config)["model"]
    if pool := import_weights.pool_overrides(file, model, overrides):
        config = configs.load_config(arguments.config, [*named, *pool])
    workdir = Path(arguments.workdir)
    settings = resolve_settings(config)
    with write_errors(workdir):
        done = import_weights.import_(
            file,
            settings,
            workdir,
            strides=arguments.strides,
            new_head=arguments.new_head,
        )
    notes = import_weights.outputs_notes(config, settings)
    print_notes(notes)
    done["notes"] += notes
    text = f"{done['workdir']}: {done['model']}, {done['parameters']:,} parameters"
    emit(arguments, done, escaped(text))
