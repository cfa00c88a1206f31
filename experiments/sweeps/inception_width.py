"""The branches of the Inception module, scaled or removed, with their cost (Szegedy et al. 2014).

python launch.py sweep --config=experiments/sweeps/inception_width.py --workdir=DIR
The network is GoogLeNet's form for 32x32 images, on CIFAR-10. The cells are each branch removed, at
half and at twice its widths in all modules; the naive module of figure 2a in place of 2b's; and no
auxiliary classifiers, whose own errors are listed beside the network's (section 5). `small` has
each branch removed and no auxiliary classifiers, at half of the widths for 10,000 steps; `quick`
has some of the cells and takes minutes on two CPU cores.
"""

ARGUMENTS = ("", "small", "quick")
BRANCHES = ("1x1", "3x3", "5x5", "pool")
SCALES = {"none": 0.0, "half": 0.5, "double": 2.0}
OTHERS = {
    "naive": "naive modules cost more and have a higher error",
    "no_auxiliary": "the error is higher without auxiliary classifiers",
}
HEADS = ["test.aux_4a_error", "test.aux_4d_error"]
# 25.6 epochs; the rate falls after two thirds and eight ninths of them, as in the full form.
SMALL = ["model.width=0.5", "steps=10000", "schedule.boundaries=(17.0,22.75)", "eval_every=3.2"]

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
    scales = ("none",) if variant else tuple(SCALES)
    changes = {
        "printed": [],
        **{f"{b}_{s}": [f"model.scale_{b}={SCALES[s]}"] for b in BRANCHES for s in scales},
        **({} if variant == "small" else {"naive": ["model.module=naive"]}),
        "no_auxiliary": ["model.aux=false"],
    }
    reduced = {"small": SMALL, "quick": QUICK}.get(variant, [])
    return dict(
        title="The branches of the Inception module",
        seeds=1 if quick else 3,
        cells={cell: ["googlenet_cifar10", *reduced, *keys] for cell, keys in changes.items()},
        comparisons=[
            *(
                worse_than_printed(f"{b}_none", f"the error is higher without the {b} branch")
                for b in BRANCHES
            ),
            *(worse_than_printed(cell, OTHERS[cell]) for cell in OTHERS if cell in changes),
        ],
        x="macs",
        groups={
            **{b: ["printed", *(f"{b}_{s}" for s in scales)] for b in BRANCHES},
            **({"module": ["printed", "naive"]} if "naive" in changes else {}),
        },
        columns=["test.top1_error", *HEADS],
    )


def worse_than_printed(cell, says):
    """Return the comparison: `cell` has a higher error than the printed network."""
    return dict(says=says, higher=cell, lower="printed", metric="test.top1_error")
