"""Network in Network on CIFAR-10 (Lin, Chen & Yan 2013). Arguments: no_dropout, augmented.

python launch.py train --config=experiments/nin_cifar10.py
Expected: 10.41 % test error, 14.51 for `no_dropout`, 8.81 for `augmented`, which are translated and
    mirrored (section 4.2, table 1):
        cnn-archs evaluate --workdir=runs/nin_cifar10
    966,986 parameters:
        cnn-archs summarize --config=nin_cifar10
The paper does not give these, which are those of the authors' released network: the sizes of the
layers, the first rate, momentum and weight decay. The norm of an image and the constant of the
whitening are those of Maxout's published code. Translations by up to four pixels are ours.
Deviations: the rate falls by a factor of ten at steps 100,000 and 110,000 of 120,000, where the
    paper lowers it twice when the training accuracy stops improving. Images are whitened after they
    are translated, with black beyond their edge.
"""

from experiments import base

ARGUMENTS = ("", "no_dropout", "augmented")


def get_config(variant=""):
    augmented = variant == "augmented"
    return base.config(
        model=dict(name="nin_cifar10", dropout=0.0 if variant == "no_dropout" else 0.5),
        data=dict(name="cifar10", batch_size=128),           # section 4.1
        standardize=dict(name="gcn_zca"),                    # section 4.2
        crop=dict(name="pad", pixels=4) if augmented else dict(name="none"),    # section 4.2
        mirror=augmented,                                    # section 4.2
        optimizer=dict(momentum=0.9, weight_decay=1e-4, decayed="weights"),     # section 4.1
        schedule=dict(
            name="piecewise", learning_rate=0.1, factors=(1.0, 0.1, 0.01),      # section 4.1
            boundaries=(100_000.0, 110_000.0), unit="step",
        ),
        steps=120_000,
    )  # fmt: skip
