"""LeNet-4 and LeNet-1 (LeCun et al. 1998, section III.C), on MNIST. Arguments: 4, 1.

python launch.py train --config=experiments/lenet4_mnist.py:4
Expected: 1.1 % test error for LeNet-4, 1.7 % for LeNet-1 (section III.C, figure 9):
        cnn-archs evaluate --workdir=runs/lenet4_mnist_4
        cnn-archs evaluate --workdir=runs/lenet4_mnist_1
LeNet-4 sees digits in 32x32, as LeNet-5 does; LeNet-1 digits reduced from 20x20 to 16x16, in the
middle of 28x28.
Deviations: the paper prints no settings of their training. Those of LeNet-5 are used, with mu as
    printed. The energy is half the squared distance from the targets +1 and -1. The tables of C3
    are ours (see `cnn_archs/models/lenet_ancestors.py`).
"""

from experiments import base

ARGUMENTS = ("4", "1")


def get_config(version="4"):
    return base.config(
        model=dict(name=f"lenet{version}"),
        data=dict(
            name="mnist",
            batch_size=1,                       # appendix C: stochastic
            pad=2 if version == "4" else 0,     # section III.A: 28x28 extended to 32x32
            pixel_range=(-0.1, 1.175),          # section II.B
        ),
        crop=dict(name="reduce") if version == "1" else dict(name="none"),  # section III.C
        loss=dict(name="squared_error"),
        optimizer=dict(name="sdlm", mu=0.02, samples=500),  # section III.B
        schedule=dict(name="lenet5_paper1998"),             # section III.B
        epochs=20.0,                            # section III.B
        log_every=10_000,
        seeds=3,
    )  # fmt: skip
