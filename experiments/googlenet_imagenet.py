"""GoogLeNet on ImageNet (Szegedy et al. 2014). Arguments: the variants, and `naive` (figure 2a).

python launch.py train --config=experiments/googlenet_imagenet.py
Expected: 6,998,552 parameters (12 times fewer than AlexNet's 60 million, section 1, is said of
    it), 13,378,280 with the auxiliary classifiers, and 1,582,671,872 multiply-adds.
The recipe, and input of this size, are not here yet: `summarize` and `export` are.
"""

from experiments import base

ARGUMENTS = ("", "naive", "bn", "torchvision", "separable")


def get_config(variant=""):
    if variant == "naive":
        model = dict(name="googlenet", module="naive")
    else:
        model = dict(name=f"googlenet_{variant}" if variant else "googlenet")
    return base.config(
        model=model,
        data=dict(name="imagenet2012", image_shape=(224, 224, 3)),  # section 5
    )
