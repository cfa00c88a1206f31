"""Dense against convolutional: the lecture notes' networks on MNIST, unchanged and moved.

python launch.py sweep --config=experiments/sweeps/mlp_vs_cnn.py --workdir=DIR
After training, both are tested on images shifted, turned, scaled and sheared by growing amounts.
The notes give errors of 2.14 and 0.99 % on unchanged images. `quick` takes minutes on two CPU
cores.
"""

ARGUMENTS = ("", "quick")
QUICK = ["data.examples=10000", "epochs=4", "log_every=10"]


def get_sweep(variant=""):
    quick = variant == "quick"
    narrow = ["model.widths=(16,32)"]
    return dict(
        title="Dense and convolutional networks, unchanged and moved",
        seeds=2 if quick else 5,
        cells={
            "mlp": ["mlp_mnist", *(QUICK if quick else [])],
            "cnn": ["cnn_mnist", *([*QUICK, *narrow] if quick else [])],
        },
        comparisons=[
            dict(
                says="the convolutional network has a lower error than the dense one",
                higher="mlp", lower="cnn", metric="test.top1_error",
            )
        ],
        x="",
        after=["robustness"],
    )  # fmt: skip
