"""Residual and plain nets on CIFAR-10 (He et al. 2015, section 4.2). Argument: 20, plain56, ...

python launch.py train --config=experiments/resnet_cifar10.py:20
Expected: 269,722 parameters for 20 (table 6: 0.27 million); its error there, 8.75 %, is of a recipe
    with mirrored and shifted images, which are not here yet.
"""

from experiments import base

DEPTHS = (20, 32, 44, 56, 110, 1202)
BOTTLENECKS = (164, 1001)
ARGUMENTS = (
    *(f"{d}" for d in DEPTHS),
    *(f"plain{d}" for d in DEPTHS),
    *("20_b", "20_c", "56_b", "56_c", "110_v2", "164_v2", "1001_v2"),
)


def get_config(variant="20"):
    if variant.removeprefix("plain").split("_")[0] not in map(str, DEPTHS + BOTTLENECKS):
        raise ValueError(f"there are depths {', '.join(map(str, DEPTHS + BOTTLENECKS))}")
    return base.config(
        model=dict(name=variant if variant.startswith("plain") else f"resnet{variant}"),
        data=dict(name="cifar10", batch_size=128),                # section 4.2
        optimizer=dict(momentum=0.9, weight_decay=1e-4),          # section 4.2
        schedule=dict(
            name="piecewise",
            learning_rate=0.1,                                    # section 4.2
            factors=(1.0, 0.1, 0.01),
            boundaries=(32_000.0, 48_000.0),                      # section 4.2
            unit="step",
        ),
        steps=64_000,                                             # section 4.2
    )  # fmt: skip
