"""AlexNet on ImageNet (Krizhevsky et al. 2012). Arguments: the variants of the network.

python launch.py train --config=experiments/alexnet_imagenet.py
Expected: 60,965,224 parameters (the abstract: 60 million) and 724,406,816 multiply-adds.
The recipe, and input of this size, are not here yet: `summarize` and `export` are.
"""

from experiments import base

ARGUMENTS = ("", "one_tower", "one_gpu", "owt")


def get_config(variant=""):
    side = 224 if variant == "owt" else 227  # 224 is printed, with which conv1 cannot give 55x55
    return base.config(
        model=dict(name=f"alexnet_{variant}" if variant else "alexnet"),
        data=dict(name="imagenet2012", image_shape=(side, side, 3), batch_size=128),  # section 5
    )
