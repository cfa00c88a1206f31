"""LeNet-5 by the size of its training set, on MNIST (LeCun et al. 1998, figures 5 and 6).

python launch.py sweep --config=experiments/sweeps/training_set_size.py --workdir=DIR
The paper draws training and test errors by pass (figure 5), and after 20 passes for 15,000, 30,000
and 60,000 training images, and for 600,000 of which 540,000 are distorted (figure 6). The report
draws the errors by epoch. Each size is passed over 20 times, as the paper has it. `quick` has a
fortieth of the images and two passes.
"""

ARGUMENTS = ("", "quick")
SIZES = (15_000, 30_000, 60_000)
WHOLE = 60_000


def get_sweep(variant=""):
    quick = variant == "quick"
    reduced = ["epochs=2", "log_every=100"] if quick else []
    cells = {
        f"images{size}": [
            "lenet5_1998_mnist:map",
            *([f"data.examples={size // (40 if quick else 1)}"] if quick or size < WHOLE else []),
            *reduced,
        ]
        for size in SIZES
    }
    cells["distorted"] = [
        "lenet5_1998_mnist:map_distorted",
        *([f"data.examples={WHOLE // 40}"] if quick else []),
        *reduced,
    ]
    names = list(cells)
    return dict(
        title="LeNet-5 by the size of its training set",
        seeds=2 if quick else 3,
        cells=cells,
        comparisons=[
            dict(
                says=f"{more} has a lower error than {fewer}",
                higher=fewer, lower=more, metric="test.top1_error",
            )
            for fewer, more in zip(names, names[1:], strict=False)
        ],
        x="",
    )  # fmt: skip
