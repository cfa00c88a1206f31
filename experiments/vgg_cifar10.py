"""VGG in a form for 32x32 images, on CIFAR-10. Argument: a column of table 1 (D, A_bn) or quick.

Paper: Simonyan & Zisserman 2014. The head of the network is ours, and so is every setting without a
section beside it.
python launch.py train --config=experiments/vgg_cifar10.py:D_bn
Expected: the paper has no figure for this network. Ours: 29.9 % test error for `quick`, A_bn at
    half its widths, from one view, in half an hour on two CPU cores (results/cifar10):
        cnn-archs evaluate --workdir=runs/vgg_cifar10_quick
    15,245,130 parameters for D:
        cnn-archs summarize --config=vgg_cifar10:D
Deviations: weights are initialized as by He et al., with which E trains without the weights of A;
    the rate falls at fixed epochs, not on a plateau; with batch normalization it starts at 0.05.
"""

from experiments import base

ARGUMENTS = (
    "A",
    "A-LRN",
    "B",
    "B-5x5",
    "C",
    "D",
    "E",
    "A_bn",
    "B_bn",
    "D_bn",
    "E_bn",
    "quick",
)


def get_config(column="D_bn"):
    quick = column == "quick"
    name = "A_bn" if quick else column
    norm = name.endswith("_bn")
    return base.config(
        model=dict(
            name=f"vgg_{name}_cifar".lower().replace("-", "_"),
            initializer="he",
            width=0.5 if quick else 1.0,
            dropout=0.0 if quick else 0.5,                   # section 3.1: 0.5
        ),
        data=dict(
            name="cifar10",
            batch_size=128,                                  # section 3.1: 256, of ImageNet
            mean="channel",                                  # section 2.1
            pixel_range=(0.0, 4.0),                          # standard deviation about 1
        ),
        crop=dict(name="pad", pixels=4),
        mirror=True,                                         # section 3.1
        optimizer=dict(momentum=0.9, weight_decay=5e-4, decayed="weights"),    # section 3.1
        schedule=dict(
            name="piecewise",
            learning_rate=0.05 if norm else 0.01,            # section 3.1: 0.01
            factors=(1.0, 0.1) if quick else (1.0, 0.1, 0.01, 0.001),    # section 3.1: three times
            boundaries=(2.0,) if quick else (40.0, 60.0, 70.0),
        ),
        epochs=2.5 if quick else 74.0,                       # section 3.1
    )  # fmt: skip
