"""Each gain that AlexNet's paper claims, on CIFAR-10 (Krizhevsky et al. 2012, sections 3 and 4).

python launch.py sweep --config=experiments/sweeps/alexnet_gains.py --workdir=DIR
The form for 32x32 images with one thing changed: ReLU, response normalization, overlapping pooling,
crops and mirror images, colors, dropout, and the smaller net of section 3.2. Also the paper's own
evidence on CIFAR-10, with a four-layer network whose layout is ours: the steps to 25 % training
error with ReLU and with tanh, each at the best of RATES (figure 1), and the error with and without
response normalization (section 3.3: 11 and 13 %). `figure_1` and `lrn` have the cells of one of
these alone, at full length. `quick` takes minutes on two CPU cores; its steps are too few for
dropout, crops and mirror images to help, and to tell ReLU from tanh.
"""

ARGUMENTS = ("", "figure_1", "lrn", "quick")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
QUICK_RATES = (0.003, 0.01, 0.03)
ACTIVATIONS = ("relu", "tanh")
CHANGES = {
    # cell: (overrides, the paper's claim about the error)
    "tanh": (["model.activation=tanh"], "the error is higher with tanh (3.1: ReLU learns faster)"),
    "no_lrn": (["model.lrn=false"], "the error is higher without response normalization (3.3)"),
    "pool_apart": (
        ["model.pool=(2,2)"],
        "the error is higher with pools that do not overlap (3.4)",
    ),
    "no_augmentation": (
        ["crop.name=none", "mirror=false"],
        "the error is higher without crops and mirror images (4.1)",
    ),
    "no_dropout": (["model.dropout=0.0"], "the error is higher without dropout (4.2)"),
}
FOUR_LAYERS = {
    "four_layers": ["four_layers_cifar10"],
    "four_layers_lrn": ["four_layers_cifar10", "model.lrn=true"],
}
NORMALIZED_IS_BETTER = dict(
    says="four layers with response normalization have a lower error (3.3)",
    higher="four_layers",
    lower="four_layers_lrn",
    metric="test.top1_error",
)
QUICK = [
    "model.width=0.25",
    "model.groups=1",
    "data.examples=5000",
    "data.downsample=2",
    "data.batch_size=32",
    "steps=1500",
    "schedule.boundaries=(6.0,8.0,9.0)",
    "log_every=50",
    "eval_every=2.4",
]
QUICK_FOUR = [
    "data.examples=5000",
    "data.downsample=2",
    "data.batch_size=32",
    "steps=1500",
    "log_every=20",
    "eval_every=4.8",
]


def get_sweep(variant=""):
    if variant == "lrn":
        return dict(
            title="Four layers with and without response normalization",
            seeds=3,
            cells=FOUR_LAYERS,
            comparisons=[NORMALIZED_IS_BETTER],
            x="",
        )
    quick = variant == "quick"
    rates = QUICK_RATES if quick else RATES
    cells, comparisons = ({}, []) if variant == "figure_1" else gains(quick)
    return dict(
        title="The gains that AlexNet's paper claims",
        seeds=1 if quick else 3,
        cells={**cells, **figure_1_cells(rates, QUICK_FOUR if quick else [])},
        comparisons=comparisons,
        x="",
        groups={
            f"figure 1, {act}": [f"figure_1_{act}_{rate:g}" for rate in rates]
            for act in ACTIVATIONS
        },
        reach=[dict(metric="train.top1_error", level=0.4 if quick else 0.25)],
    )


def figure_1_cells(rates, reduced):
    """Return a cell of the four-layer network for each activation at each of `rates`."""
    return {
        f"figure_1_{act}_{rate:g}": [
            "four_layers_cifar10:figure_1",
            *reduced,
            f"model.activation={act}",
            f"schedule.learning_rate={rate}",
        ]
        for act in ACTIVATIONS
        for rate in rates
    }


def gains(quick):
    """Return the cells of AlexNet's form with one change each and of section 3.3, compared."""
    reduced = QUICK if quick else []
    cells = {"as_printed": ["alexnet_cifar10", *reduced]}
    cells |= {c: ["alexnet_cifar10", *reduced, *keys] for c, (keys, _) in CHANGES.items()}
    comparisons = [
        dict(says=says, higher=cell, lower="as_printed", metric="test.top1_error")
        for cell, (_, says) in CHANGES.items()
    ]
    if quick:
        return cells, comparisons
    cells |= {
        "colours": ["alexnet_cifar10", "color.name=pca"],
        "one_gpu": ["alexnet_cifar10:one_gpu"],
        **FOUR_LAYERS,
    }
    return cells, [*comparisons, *full_grid_comparisons()]


def full_grid_comparisons():
    """Return the comparisons of cells that `quick` leaves out."""
    error = dict(metric="test.top1_error")
    return [
        dict(
            says="color changes lower the error (4.1)",
            higher="as_printed", lower="colours", **error,
        ),
        dict(
            says="the net for one GPU has a higher error (3.2)",
            higher="one_gpu", lower="as_printed", **error,
        ),
        NORMALIZED_IS_BETTER,
    ]  # fmt: skip
