"""LeNet-5 in the form of the lecture notes, on MNIST; the recipe is ours. Arguments: notes, book.

python launch.py train --config=experiments/lenet5_mnist.py
Expected: at most 0.95 % test error, the figure of LeCun et al. 1998, section III.B:
        cnn-archs evaluate --workdir=runs/lenet5_mnist
`notes` and `book` are the recipes of the lecture notes and of the textbook that they follow: plain
SGD and batch 32. Their rates are taken from the paper, where they belong to a second-order method
(the notes begin with 0.005 for 0.0005 and leave 0.0001 out), so the test error is about 8 % and
more. We tried two learning rates, 0.05 and 0.1; this one had the lower error on 5,000 held-out
training images (`--config.data.holdout=5000`).
"""

from experiments import base

ARGUMENTS = ("", "notes", "book")


def get_config(recipe=""):
    if recipe:
        return base.config(
            model=dict(name="lenet5"),
            data=dict(name="mnist", batch_size=32),
            optimizer=dict(momentum=0.0),
            schedule=dict(name=f"lenet5_{recipe}"),
            epochs=20.0,
        )
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
