"""BN-Inception on ImageNet (Ioffe & Szegedy 2015). Arguments: x30, x5, x5_sigmoid, baseline.

python launch.py train --config=experiments/inception_v2_imagenet.py
Expected: 25.2 % top-1 and 7.82 % top-5 error, one crop; 21.99 and 5.82 %, 144 crops (figure 4);
    27.3 % top-1 error for `baseline`, 27.0 for `x5` and 30.2 for `x5_sigmoid`, one crop (figure 3):
        cnn-archs evaluate --workdir=runs/inception_v2_imagenet
        cnn-archs evaluate --workdir=runs/inception_v2_imagenet --protocol=grid_144
    11,285,224 parameters and 2,032,600,064 multiply-adds:
        cnn-archs summarize --config=inception_v2_imagenet
`baseline` is the recipe of GoogLeNet with batch normalization. `x5` and `x30` multiply its first
rate by 5 and 30, drop dropout, divide weight decay by 5, and let the rate fall six times faster.
The paper does not give these, which are GoogLeNet's here: the decay of the weights before it is
divided, 4 % less rate every 8 epochs, crops, colors and mirroring. It says that `x5` and `x30`
change colors less; by half is ours. Steps are the 6 million of `x30` (section 4.2.2), and for the
others 30 million, where figure 2 ends.
Deviations: SGD is synchronous, with one batch of 32, where ten replicas made five steps each at a
    time. `--config.model.stem=separable` is the first convolution of the appendix. The paper says
    13.6 million parameters; the branches of figure 5 have 11.3, and more maps than are printed
    after 4c, 4d and 4e.
"""

from experiments import base

ARGUMENTS = ("x30", "x5", "x5_sigmoid", "baseline")
RATES = {"baseline": 0.0015, "x5": 0.0075, "x5_sigmoid": 0.0075, "x30": 0.045}  # section 4.2.2


def get_config(variant="x30"):
    faster = variant != "baseline"
    colors = 0.2 if faster else 0.4
    return base.config(
        model=dict(
            name="inception_v2",
            activation="sigmoid" if variant == "x5_sigmoid" else "relu",    # section 4.2.2
            dropout=0.0 if faster else 0.4,                  # section 4.2.1
        ),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),                       # figure 4
            batch_size=32,                                   # section 4.2
            mean="channel",
            pixel_range=(0.0, 255.0),
        ),
        crop=dict(name="inception", area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),
        mirror=True,
        color=dict(name="jitter", brightness=colors, contrast=colors, saturation=colors),
        optimizer=dict(                                      # section 4.2: momentum
            momentum=0.9,
            weight_decay=4e-5 if faster else 2e-4,           # section 4.2.1: a fifth
            decayed="weights",
        ),
        schedule=dict(
            name="exponential",
            learning_rate=RATES[variant],
            factor=0.96,
            every=8 / 6 if faster else 8.0,                  # section 4.2.1: 6 times faster
            staircase=True,
        ),
        steps=6_000_000 if variant == "x30" else 30_000_000,
        eval_batch_size=250,
    )  # fmt: skip
