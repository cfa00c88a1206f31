"""Inception-v3 on ImageNet (Szegedy et al. 2015, "Rethinking the Inception Architecture").

python launch.py train --config=experiments/inception_v3_imagenet.py
Expected: 21.2 % top-1 and 5.6 % top-5 error, one crop (table 3):
        cnn-archs evaluate --workdir=runs/inception_v3_imagenet
    23,834,568 parameters:
        cnn-archs summarize --config=inception_v3_imagenet
The paper does not give these, which are the TensorFlow release's: momentum 0.9 with RMSProp, decay
4e-5 of the weights, weight 0.4 of the auxiliary classifier, the decay of the average, pixels from
-1 to 1.
Crops and colors are those of our GoogLeNet experiment.
Deviations: the 50 replicas' batches of 32 are one batch with common batch statistics; the threshold
    of 2.0 clips the norm of all gradients together, which the paper does not specify.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="inception_v3", bn_group=32),
        data=dict(
            name="imagenet2012",
            image_shape=(299, 299, 3),                       # section 6
            batch_size=50 * 32,                              # section 8
            pixel_range=(-1.0, 1.0),
        ),
        crop=dict(name="inception", evaluate=342),           # 299 / 342: the release's 87.5 %
        mirror=True,
        color=dict(name="jitter"),
        loss=dict(smoothing=0.1),                            # section 7
        auxiliary=0.4,
        optimizer=dict(                                      # section 8
            name="rmsprop", decay=0.9, eps=1.0, momentum=0.9, weight_decay=4e-5,
            decayed="weights", clip=2.0,
        ),
        schedule=dict(                                       # section 8
            name="exponential", learning_rate=0.045, factor=0.94, every=2.0, staircase=True,
        ),
        average=dict(name="ema", decay=0.9999),              # section 8: a running average
        epochs=100.0,                                        # section 8
        eval_batch_size=250,
    )  # fmt: skip
