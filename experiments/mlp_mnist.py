"""The lecture notes' dense network on MNIST: 784-512-10.

python launch.py train --config=experiments/mlp_mnist.py
Expected: 97.86 % accuracy, that is 2.14 % test error (lecture notes):
        cnn-archs evaluate --workdir=runs/mlp_mnist
Deviations: the notes give the accuracy only. Widths, Adam and batch 200 are those of the textbook
    that they follow, which trains for up to 30 epochs and stops early. Here training takes 12
    epochs, the last of which is evaluated, and Adam has its own epsilon, not Keras'.
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="mlp"),
        data=dict(name="mnist", batch_size=200),
        optimizer=dict(name="adam"),
        schedule=dict(name="constant", learning_rate=1e-3),
        epochs=12.0,
        seeds=3,
    )
