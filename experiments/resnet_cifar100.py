"""Bottleneck nets on CIFAR-100 (He et al. 2016, Identity mappings). Argument: 164_v2, 1001_v2, ...

python launch.py train --config=experiments/resnet_cifar100.py:164_v2
Expected: 24.33 % test error for 164_v2 and 22.71 (22.68 +- 0.22 in five runs) for 1001_v2, which
    have pre-activation units; 25.16 for 164 and 27.82 for 1001, with the first paper's units
    (tables 3 and 4), from the unchanged image:
        cnn-archs evaluate --workdir=runs/resnet_cifar100_164_v2
    1,726,388 parameters for 164_v2:
        cnn-archs summarize --config=resnet_cifar100:164_v2
All four are trained by the same recipe, which is that of CIFAR-10 (appendix). Batch statistics are
those of 64 images, as on each of the paper's two GPUs.
Deviations: the border around an image has the mean's value, and all parameters decay; the paper
    specifies neither.
"""

from experiments import base

ARGUMENTS = ("164_v2", "1001_v2", "164", "1001")


def get_config(variant="164_v2"):
    depth, _, form = variant.partition("_")
    return base.config(
        model=dict(
            name=f"resnet{depth}_v2" if form else f"resnet{depth}_bottleneck",
            num_classes=100,
            bn_group=64,                                              # appendix
        ),
        data=dict(
            name="cifar100",
            batch_size=128,                                           # appendix
            mean="pixel",                                             # 2015, section 4.2
        ),
        crop=dict(name="pad", pixels=4),                              # appendix
        mirror=True,                                                  # appendix
        optimizer=dict(momentum=0.9, weight_decay=1e-4),              # appendix
        schedule=dict(
            name="piecewise",
            learning_rate=0.1,                                        # appendix
            factors=(0.1, 1.0, 0.1, 0.01),
            boundaries=(400.0, 32_000.0, 48_000.0),
            unit="step",
        ),
        steps=64_000,                                                 # 2015, section 4.2
    )  # fmt: skip
