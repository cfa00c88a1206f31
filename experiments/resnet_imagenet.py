"""Residual and plain nets on ImageNet (He et al. 2015, 2016). Argument: 50, 34_a, plain34, ...

python launch.py train --config=experiments/resnet_imagenet.py:50
Expected: table 1's 1.8, 3.6, 3.8, 7.6 and 11.3 billion multiply-adds for 18, 34, 50, 101 and 152.
The recipe, and input of this size, are not here yet: `summarize` and `export` are.
"""

from experiments import base

ARGUMENTS = (
    *("18", "34", "50", "101", "152", "18_a", "34_a", "34_c", "plain18", "plain34"),
    *("50_v1_5", "101_v1_5", "152_v1_5", "50_v2", "101_v2", "152_v2", "200_v2"),
)


DEPTHS = ("18", "34", "50", "101", "152", "200")


def get_config(variant="50"):
    if variant.removeprefix("plain").split("_")[0] not in DEPTHS:
        raise ValueError(f"there are depths {', '.join(DEPTHS)}")
    return base.config(
        model=dict(name=variant if variant.startswith("plain") else f"resnet{variant}"),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),     # section 3.4
            batch_size=256,                # section 3.4
        ),
    )  # fmt: skip
