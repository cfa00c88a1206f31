"""VGG on ImageNet (Simonyan & Zisserman 2014). Argument: the column of table 1, and `_bn` for ours.

python launch.py train --config=experiments/vgg_imagenet.py:D
Expected: 138,357,544 parameters (table 2: 138 million) and 15,470,264,320 multiply-adds for D.
The recipe, and input of this size, are not here yet: `summarize` and `export` are.
"""

from experiments import base

ARGUMENTS = ("A", "A-LRN", "B", "B-5x5", "C", "D", "E", "A_bn", "B_bn", "D_bn", "E_bn")


def get_config(column="D"):
    return base.config(
        model=dict(name=f"vgg_{column}".lower().replace("-", "_")),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),     # section 2.1
            batch_size=256,                # section 3.1
        ),
    )  # fmt: skip
