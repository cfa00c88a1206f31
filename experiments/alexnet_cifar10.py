"""AlexNet in a form for 32x32 images, on CIFAR-10. Arguments: one_gpu, quick.

Paper: Krizhevsky et al. 2012. The form of the network is ours, and so is every setting without a
section beside it.
python launch.py train --config=experiments/alexnet_cifar10.py
Expected: the paper has no figure for this network; its own CIFAR-10 net has four layers (section
    3.3: 13 % test error, 11 % with response normalization). Ours: 30.7 % test error for `quick`,
    from one view, in half an hour on two CPU cores (results/cifar10):
        cnn-archs evaluate --workdir=runs/alexnet_cifar10_quick
    5,721,994 parameters:
        cnn-archs summarize --config=alexnet_cifar10
`one_gpu` has the widths of the paper's net for one GPU and no groups; `quick` is a short run of it.
Deviations: weights are initialized as by He et al., since from N(0, 0.01^2) the loss stays flat for
    long; the rate falls at fixed epochs, not on a plateau.
"""

from experiments import base

ARGUMENTS = ("", "one_gpu", "quick")
ONE_GPU = dict(widths=(48, 128, 192, 192, 256), groups=1)  # section 3.2, its footnote


def get_config(variant=""):
    quick = variant == "quick"
    return base.config(
        model=dict(
            name="alexnet_cifar",
            initializer="he",
            **(ONE_GPU if variant else {}),
        ),
        data=dict(
            name="cifar10",
            batch_size=64 if quick else 128,                 # section 5: 128
            mean="pixel",                                    # section 2
            pixel_range=(0.0, 4.0),                          # standard deviation about 1
        ),
        crop=dict(name="pad", pixels=4),
        mirror=True,                                         # section 4.1
        optimizer=dict(
            momentum=0.9,                                    # section 5
            weight_decay=5e-4,                               # section 5
            decayed="weights",
        ),
        schedule=dict(
            name="piecewise",
            learning_rate=0.01,                              # section 5
            factors=(1.0, 0.1) if quick else (1.0, 0.1, 0.01, 0.001),    # section 5: three times
            boundaries=(2.5,) if quick else (50.0, 70.0, 85.0),
        ),
        epochs=3.0 if quick else 90.0,                       # section 5: roughly 90
    )  # fmt: skip
