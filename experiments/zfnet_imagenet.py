"""ZFNet on ImageNet (Zeiler & Fergus 2013).

python launch.py train --config=experiments/zfnet_imagenet.py
Expected: 38.4 % top-1 and 16.5 % top-5 error on the validation images (table 2), ten crops, as its
    AlexNet:
        cnn-archs evaluate --workdir=runs/zfnet_imagenet --protocol=ten_crop
    62,357,608 parameters and 1,168,032,896 multiply-adds, which the paper does not print:
        cnn-archs summarize --config=zfnet_imagenet
Deviations: the authors annealed the rate by hand. Here it falls tenfold, three times, after five
    evaluations, one per epoch, without a lower error on 10,000 images held out of train. Crops are
    random, not the center and the four corners. The limit on the RMS of first-layer filters is left
    out.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="zfnet"),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),     # figure 3
            batch_size=128,                # section 3
            holdout=10_000,
            mean="pixel",                  # section 3
            pixel_range=(0.0, 255.0),
        ),
        crop=dict(name="square", side=256),    # section 3
        mirror=True,                       # section 3
        optimizer=dict(momentum=0.9),      # section 3
        schedule=dict(
            name="plateau", learning_rate=1e-2, factor=0.1, drops=3,    # section 3
        ),
        epochs=70.0,                       # section 3
        eval_batch_size=250,
    )  # fmt: skip
