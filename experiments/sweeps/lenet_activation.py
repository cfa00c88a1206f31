"""LeNet-5 with tanh and with ReLU, on MNIST: the exercise of the lecture notes.

python launch.py sweep --config=experiments/sweeps/lenet_activation.py --workdir=DIR
`quick` takes minutes on two CPU cores.
"""

ARGUMENTS = ("", "quick")
QUICK = [
    "data.examples=10000",
    "epochs=6",
    "schedule.boundaries=(4.0,5.0)",
    "log_every=20",
    "eval_every=1.0",
]


def get_sweep(variant=""):
    quick = variant == "quick"
    return dict(
        title="LeNet-5 with tanh and with ReLU",
        seeds=3 if quick else 5,
        cells={
            act: ["lenet5_mnist", *(QUICK if quick else []), f"model.activation={act}"]
            for act in ("tanh", "relu")
        },
        comparisons=[
            dict(
                says="ReLU has a lower error than tanh",
                higher="tanh", lower="relu", metric="test.top1_error",
            ),
            dict(
                says="ReLU has a lower training error than tanh",
                higher="tanh", lower="relu", metric="train_eval.top1_error",
            ),
        ],
        x="",
    )  # fmt: skip
