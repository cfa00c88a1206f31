"""The branches of the Inception module, scaled or removed, with their cost (Szegedy et al. 2014).

python launch.py sweep --config=experiments/sweeps/inception_width.py --workdir=DIR
On GoogLeNet's form for 32x32 images and CIFAR-10: each branch absent, at half and at twice its
widths in all modules; figure 2a's naive module against 2b's; without auxiliary classifiers, whose
own errors stand beside the others' (section 5). `quick`: some of these, minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")
BRANCHES = ("1x1", "3x3", "5x5", "pool")
SCALES = {"none": 0.0, "half": 0.5, "double": 2.0}
HEADS = ["test.aux_4a_error", "test.aux_4d_error"]
QUICK = [
    *("model.width=0.125", "model.batch_norm=true", "model.lrn=false", "data.examples=5000"),
    *("data.batch_size=32", "steps=300", "schedule.learning_rate=0.05"),
    *("schedule.boundaries=(1.2,1.7)", "log_every=50"),
]
REDUCED = (
    "An eighth of the widths; batch normalization, with which so few steps teach something; 5,000 "
    "training images, batch 32, 300 steps; of the scales of a branch only its absence."
)


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
        title="The branches of the Inception module, on CIFAR-10",
        notes=REDUCED if quick else "",
        seeds=1 if quick else 3,
        cells={cell: ["googlenet_cifar10", *reduced, *keys] for cell, keys in changes.items()},
        comparisons=[
            *(worse(f"{b}_none", f"the error is higher without the {b} branch") for b in BRANCHES),
            worse("naive", "naive modules cost more and have a higher error"),
            worse("no_auxiliary", "the error is higher without auxiliary classifiers"),
        ],
        x="macs",
        groups={
            **{b: ["printed", *(f"{b}_{s}" for s in scales)] for b in BRANCHES},
            "module": ["printed", "naive"],
        },
        columns=["test.top1_error", *HEADS],
    )


def worse(cell, says):
    return dict(says=says, higher=cell, lower="printed", metric="test.top1_error")
