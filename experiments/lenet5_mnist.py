"""LeNet-5 in the form of the lecture notes, on MNIST; the recipe is ours.

python launch.py train --config=experiments/lenet5_mnist.py
Expected: at most 0.95 % test error, the figure of LeCun et al. 1998, section III.B.

The notes' own schedule (`--config.schedule.name=lenet5_notes`) is the paper's for a second-order
method; with plain SGD it stays far above 1 %. Of two learning rates, 0.05 and 0.1, this one
had the lower error on 5,000 held-out training images (`--config.data.holdout=5000`).
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="lenet5"),
        data=dict(name="mnist", batch_size=128),
        optimizer=dict(name="momentum", momentum=0.9, weight_decay=5e-4),
        schedule=dict(
            name="piecewise",
            learning_rate=0.05,
            factors=(1.0, 0.1, 0.01),
            boundaries=(14.0, 18.0),
        ),
        epochs=20.0,
        seeds=5,
    )
