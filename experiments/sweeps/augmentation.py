"""What augmentation is for: drawn shapes, 15 of each to learn from (experiments/shapes.py).

python launch.py sweep --config=experiments/sweeps/augmentation.py --workdir=DIR
They are tested on `challenge`, drawings turned, moved and distorted beyond what the augmentation
does, and afterwards on ones shifted, turned, scaled and sheared more and more. `quick`: two seeds,
minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")


def get_sweep(variant=""):
    return dict(
        title="Shapes with and without augmentation",
        notes="Two seeds of five; nothing else is reduced." if variant == "quick" else "",
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
