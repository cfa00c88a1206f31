"""GoogLeNet in a form for 32x32 images, on CIFAR-10. Arguments: bn, naive, half, quick.

Paper: Szegedy et al. 2014. The stem is ours, and so is every setting without a section beside it.
python launch.py train --config=experiments/googlenet_cifar10.py
Expected: the paper has no figure for this network. Ours: 51.8 % test error for `quick`, at half its
    widths, from one view, in half an hour on two CPU cores (results/cifar10):
        cnn-archs evaluate --workdir=runs/googlenet_cifar10_quick
    5,971,962 parameters without the auxiliary classifiers:
        cnn-archs summarize --config=googlenet_cifar10
`bn` has batch normalization in place of biases; `naive` has the modules of figure 2a; `half` has
all widths halved.
Deviations: weights are initialized as by He et al.; there are fewer epochs than in the paper, and
    the rate falls faster than by 4 % every 8 epochs.
"""

from typing import Any

from experiments import base

MODEL: dict[str, dict[str, Any]] = {
    "": {},
    "bn": dict(batch_norm=True, lrn=False),
    "naive": dict(module="naive"),  # figure 2a
    "half": dict(width=0.5),
    "quick": dict(width=0.5),
}
ARGUMENTS = tuple(MODEL)


def get_config(variant=""):
    quick = variant == "quick"
    return base.config(
        model=dict(name="googlenet_cifar", initializer="he", **MODEL[variant]),
        data=dict(
            name="cifar10",
            batch_size=64 if quick else 128,
            mean="channel",                                  # section 5
            pixel_range=(0.0, 4.0),                          # standard deviation about 1
        ),
        crop=dict(name="pad", pixels=4),
        mirror=True,                                         # section 6
        auxiliary=0.3,                                       # section 5
        optimizer=dict(momentum=0.9, weight_decay=2e-4, decayed="weights"),    # section 6: 0.9
        schedule=dict(
            name="piecewise",
            learning_rate=0.01,
            factors=(1.0, 0.1) if quick else (1.0, 0.1, 0.01),
            boundaries=(1.0,) if quick else (60.0, 80.0),
        ),
        epochs=1.2 if quick else 90.0,
    )  # fmt: skip
