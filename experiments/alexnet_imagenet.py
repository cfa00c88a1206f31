"""AlexNet on ImageNet (Krizhevsky et al. 2012). Arguments: the variants, and `notes`.

python launch.py train --config=experiments/alexnet_imagenet.py
Expected: 40.7 % top-1 and 18.2 % top-5 error, the mean of ten crops (table 2, 1 CNN); 60,965,224
    parameters (the abstract: 60 million) and 724,406,816 multiply-adds.
Deviations: the rate was divided by hand, when the validation error stopped improving: here after
    five evaluations without, one an epoch, on 10,000 images held out of train at random. Crops are
    227x227, so that there are 30 x 30 x 2 of an image, not 2048. The principal components are those
    printed in fb.resnet.torch, for pixels in [0, 1], on any dataset. Of weight decay the equation
    says "w": weights, not biases.
`owt` is torchvision's net (256 maps in conv4, no LRN, torch's initialization, no logistic units)
with the schedule of "One weird trick" (Krizhevsky 2014). `notes` has the notes' weight decay.
"""

from experiments import base

ARGUMENTS = ("", "one_tower", "one_gpu", "owt", "notes")


def get_config(variant=""):
    side = 224 if variant == "owt" else 227  # 224 is printed, with which conv1 cannot give 55x55
    schedule = dict(name="plateau", learning_rate=0.01, factor=0.1, drops=3)  # section 5
    if variant == "owt":
        factors = tuple(250.0 ** (-i / 3) for i in range(4))
        schedule = dict(
            name="piecewise", learning_rate=0.01, factors=factors, boundaries=(22.5, 45.0, 67.5)
        )
    return base.config(
        model=dict(name=f"alexnet_{variant}" if variant not in ("", "notes") else "alexnet"),
        data=dict(
            name="imagenet2012",
            image_shape=(side, side, 3),
            batch_size=128,                                  # section 5
            holdout=0 if variant == "owt" else 10_000,
            mean="pixel",                                    # section 2
            pixel_range=(0.0, 255.0),                        # section 2: raw, centered
        ),
        crop=dict(name="square", side=256),                  # sections 2 and 4.1
        mirror=True,                                         # section 4.1
        color=dict(name="pca", sigma=0.1),                  # section 4.1
        optimizer=dict(
            momentum=0.9,                                    # section 5
            weight_decay=5e-5 if variant == "notes" else 5e-4,
            decayed="weights",
        ),
        schedule=schedule,
        epochs=90.0,                                         # section 5: roughly
        eval_batch_size=250,
    )  # fmt: skip
