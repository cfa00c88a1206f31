"""ZFNet on ImageNet (Zeiler & Fergus 2013).

python launch.py train --config=experiments/zfnet_imagenet.py
Expected: 62,357,608 parameters and 1,168,032,896 multiply-adds, which the paper does not print;
    38.4 % top-1 and 16.5 % top-5 error on the validation images (table 2).
Input of this size, and of the recipe the crops, the annealing by hand and the limit on the filters'
RMS, are not here yet: `summarize` is.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="zfnet"),
        data=dict(
            name="imagenet2012",
            image_shape=(224, 224, 3),     # figure 3
            batch_size=128,                # section 3
        ),
        optimizer=dict(momentum=0.9),      # section 3
        schedule=dict(learning_rate=1e-2), # section 3: at first
        epochs=70.0,                       # section 3
    )  # fmt: skip
