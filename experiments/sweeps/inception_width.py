"""The branches of the Inception module, scaled or removed, with their cost (Szegedy et al. 2014).

python launch.py sweep --config=experiments/sweeps/inception_width.py --workdir=DIR
The network is GoogLeNet's form for 32x32 images, on CIFAR-10. The cells are each branch removed, at
half and at twice its widths in all modules; the naive module of figure 2a in place of 2b's; and no
auxiliary classifiers, whose own errors are listed beside the network's (section 5). `quick` has
some of these and takes minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")
BRANCHES = ("1x1", "3x3", "5x5", "pool")
SCALES = {"none": 0.0, "half": 0.5, "double": 2.0}
HEADS = ["test.aux_4a_error", "test.aux_4d_error"]
QUICK = [
    "model.width=0.125",
    "model.batch_norm=true",
    "model.lrn=false",
    "data.examples=5000",
    "data.batch_size=32",
    "steps=300",
    "schedule.learning_rate=0.05",
    "schedule.boundaries=(1.2,1.7)",
    "log_every=50",
]


def get_sweep(variant=""):
    quick = variant == "quick"
    scales = ("none",) if quick else tuple(SCALES)
    changes = {
        "printed": [],
        **{f"{b}_{s}": [f"model.scale_{b}={SCALES[s]}"] for b in BRANCHES for s in scales},
        "naive": ["model.module=naive"],
        "no_auxiliary": ["model.aux=false"],
    }
    reduced = QUICK if quick else []
    return dict(
        title="The branches of the Inception module",
        seeds=1 if quick else 3,
        cells={cell: ["googlenet_cifar10", *reduced, *keys] for cell, keys in changes.items()},
        comparisons=[
            *(
                worse_than_printed(f"{b}_none", f"the error is higher without the {b} branch")
                for b in BRANCHES
            ),
            worse_than_printed("naive", "naive modules cost more and have a higher error"),
            worse_than_printed("no_auxiliary", "the error is higher without auxiliary classifiers"),
        ],
        x="macs",
        groups={
            **{b: ["printed", *(f"{b}_{s}" for s in scales)] for b in BRANCHES},
            "module": ["printed", "naive"],
        },
        columns=["test.top1_error", *HEADS],
    )


def worse_than_printed(cell, says):
    """Return the comparison: `cell` has a higher error than the printed network."""
    return dict(says=says, higher=cell, lower="printed", metric="test.top1_error")
