"""LeNet-5 on scikit-learn's 1,797 handwritten digits: a minute on a laptop, no download.

Paper: LeCun et al. 1998; the network is in the form of the lecture notes.
python launch.py train --config=experiments/lenet5_digits.py
Expected: test error at most 3 % on 360 digits:
        cnn-archs evaluate --workdir=runs/lenet5_digits
"""

from experiments import base


def get_config():
    return base.config(
        model=dict(name="lenet5", padding=0),  # the digits are 32x32 already
        data=dict(name="digits", batch_size=32),
        optimizer=dict(name="momentum", momentum=0.9),
        schedule=dict(name="piecewise", learning_rate=0.05, factors=(1.0, 0.1), boundaries=(15.0,)),
        epochs=20.0,
    )
