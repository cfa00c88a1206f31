"""The effect of augmentation on drawn shapes, 15 training drawings of each (experiments/shapes.py).

python launch.py sweep --config=experiments/sweeps/augmentation.py --workdir=DIR
Networks are tested on `challenge`, drawings that are turned, moved and distorted beyond what the
augmentation does, and afterwards on drawings shifted, turned, scaled and sheared by growing
amounts. `quick` has two seeds and takes minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")


def get_sweep(variant=""):
    return dict(
        title="Shapes with and without augmentation",
        seeds=2 if variant == "quick" else 5,
        cells={name: [f"shapes:{name}"] for name in ("plain", "augmented")},
        comparisons=[
            dict(
                says="augmentation lowers the error on the challenge",
                higher="plain", lower="augmented", metric="challenge.top1_error",
            )
        ],
        x="",
        after=["robustness"],
        columns=["test.top1_error", "challenge.top1_error"],
    )  # fmt: skip
