"""Inception-v4 on ImageNet (Szegedy, Ioffe, Vanhoucke & Alemi 2016).

python launch.py train --config=experiments/inception_v4_imagenet.py
Expected: 20.0 % top-1 and 5.0 % top-5 error, one crop (table 2), and 17.7 and 3.8 %, 144 crops
    (table 4), of the averaged weights:
        cnn-archs evaluate --workdir=runs/inception_v4_imagenet
        cnn-archs evaluate --workdir=runs/inception_v4_imagenet --protocol=grid_144
    42,679,816 parameters and 12,253,974,624 multiply-adds:
        cnn-archs summarize --config=inception_v4_imagenet
The paper does not give these, which are those of the Inception-v3 experiment: 32 images for each
replica, RMSProp's momentum of 0.9, decay 4e-5 of the weights, label smoothing of 0.1, the decay of
the average, pixels from -1 to 1, crops and colors. The 160 epochs are ours.
Deviations: the 20 replicas' batches are one batch; each 32 images share batch statistics, as there.
    Figure 5 prints 1x7 twice in a row, where the second is 7x1 here. Table 2 leaves the images out
    that ILSVRC blacklists, some 1,700 of the 50,000.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="inception_v4", bn_group=32),
        data=dict(
            name="imagenet2012",
            image_shape=(299, 299, 3),                       # figure 9
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
