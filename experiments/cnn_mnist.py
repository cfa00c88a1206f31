"""The lecture notes' first convolutional network on MNIST: 32-64 3x3, max-pool, 128 dense, dropout.

python launch.py train --config=experiments/cnn_mnist.py
Expected: 99.01 % accuracy, that is 0.99 % test error (lecture notes):
        cnn-archs evaluate --workdir=runs/cnn_mnist
Deviations: the notes give MaxPooling2D(2), Dropout(0.25) and the accuracy. The rest is from the
    textbook that they follow, which trains for up to 30 epochs and stops early. Here training takes
    6 epochs, the last of which is evaluated, and Adam has its own epsilon, not Keras'.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="cnn"),
        data=dict(name="mnist", batch_size=200),
        optimizer=dict(name="adam"),
        schedule=dict(name="constant", learning_rate=1e-3),
        epochs=6.0,
        seeds=3,
    )
