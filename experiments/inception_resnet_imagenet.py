"""Inception-ResNet on ImageNet (Szegedy et al. 2016). Arguments: v2, v2_paper, v1.

python launch.py train --config=experiments/inception_resnet_imagenet.py
Expected: 19.9 % top-1 and 4.9 % top-5 error for v2, 21.3 and 5.5 for v1, one crop (table 2); 17.8
    and 3.7 for v2, 18.8 and 4.3 for v1, 144 crops (table 4), of the averaged weights:
        cnn-archs evaluate --workdir=runs/inception_resnet_imagenet_v2
        cnn-archs evaluate --workdir=runs/inception_resnet_imagenet_v2 --protocol=grid_144
    55,843,464 parameters and 13,155,794,016 multiply-adds for v2, 32,433,928 and 9,257,953,632 for
    v2_paper, 22,756,328 and 6,206,361,696 for v1:
        cnn-archs summarize --config=inception_resnet_imagenet:v2
`v2` is the network that the authors released, with 10, 20 and 10 modules; `v2_paper` and `v1` are
the figures. The recipe is that of Inception-v4, with the same additions of ours.
Deviations: as in the Inception-v4 experiment; figure 17 prints 1154 maps and figure 19 prints 2048,
    where the branches before them have 1152 and 2144, which hold here. The paper does not say which
    factors between 0.1 and 0.3 scale the residuals; 0.17, 0.1 and 0.2 are the release's.
"""

from experiments import base

ARGUMENTS = ("v2", "v2_paper", "v1")


def get_config(variant="v2"):
    return base.config(
        model=dict(name=f"inception_resnet_{variant}", bn_group=32),
        data=dict(
            name="imagenet2012",
            image_shape=(299, 299, 3),                       # figure 14
            batch_size=20 * 32,                              # section 4: 20 replicas
            pixel_range=(-1.0, 1.0),
        ),
        crop=dict(name="inception", evaluate=342),
        mirror=True,
        color=dict(name="jitter"),
        loss=dict(smoothing=0.1),
        optimizer=dict(                                      # section 4
            name="rmsprop", decay=0.9, eps=1.0, momentum=0.9, weight_decay=4e-5, decayed="weights",
        ),
        schedule=dict(                                       # section 4
            name="exponential", learning_rate=0.045, factor=0.94, every=2.0, staircase=True,
        ),
        average=dict(name="ema", decay=0.9999),              # section 4: a running average
        epochs=160.0,
        eval_batch_size=250,
    )  # fmt: skip
