"""The lecture notes' exercise: their convolutional network on CIFAR-10, 32x32 in color.

python launch.py train --config=experiments/cnn_cifar10.py
Expected: the notes give no figure. 1,626,442 parameters:
        cnn-archs summarize --config=cnn_cifar10
The recipe is that of cnn_mnist for twice as many epochs, with the notes' generator: shifts of a
tenth and mirror images.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="cnn"),
        data=dict(name="cifar10", batch_size=200),
        augment=dict(
            name="generator", width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True,
        ),
        optimizer=dict(name="adam"),
        schedule=dict(name="constant", learning_rate=1e-3),
        epochs=12.0,
    )  # fmt: skip
