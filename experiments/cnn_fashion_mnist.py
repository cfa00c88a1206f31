"""The lecture notes' exercise: their convolutional network on Fashion-MNIST in place of MNIST.

python launch.py train --config=experiments/cnn_fashion_mnist.py
Expected: the notes give no figure. 1,199,882 parameters, as on MNIST:
        cnn-archs summarize --config=cnn_fashion_mnist
The recipe is that of cnn_mnist for twice as many epochs.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="cnn"),
        data=dict(name="fashion_mnist", batch_size=200),
        optimizer=dict(name="adam"),
        schedule=dict(name="constant", learning_rate=1e-3),
        epochs=12.0,
    )
