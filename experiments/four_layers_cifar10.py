"""The four-layer network of AlexNet's paper on CIFAR-10. Argument: figure_1.

Paper: Krizhevsky et al. 2012, sections 3.1 and 3.3. The layout is ours, and so is every setting
without a section beside it.
python launch.py train --config=experiments/four_layers_cifar10.py
Expected: 13 % test error, and 11 % with `--config.model.lrn=true` (section 3.3), for networks whose
    layout is not printed; ours has no figure yet:
        cnn-archs evaluate --workdir=runs/four_layers_cifar10
    85,098 parameters:
        cnn-archs summarize --config=four_layers_cifar10
`figure_1` compares activations without any regularization. It has one learning rate, to be chosen
for each activation "to make training as fast as possible": see experiments/sweeps/alexnet_gains.py.
Deviations: the rate falls at fixed epochs.
"""

from experiments import base

ARGUMENTS = ("", "figure_1")


def get_config(variant=""):
    data = dict(name="cifar10", batch_size=128, mean="pixel", pixel_range=(0.0, 4.0))
    if variant == "figure_1":
        return base.config(
            model=dict(name="four_layers"),
            data=data,
            optimizer=dict(momentum=0.9),  # section 5
            schedule=dict(learning_rate=0.01),
            epochs=40.0,  # figure 1
            log_every=20,
        )
    return base.config(
        model=dict(name="four_layers"),
        data=data,
        crop=dict(name="pad", pixels=4),
        mirror=True,
        optimizer=dict(momentum=0.9, weight_decay=5e-4, decayed="weights"),    # section 5
        schedule=dict(
            name="piecewise",
            learning_rate=0.01,                              # section 5
            factors=(1.0, 0.1, 0.01),
            boundaries=(90.0, 105.0),
        ),
        epochs=120.0,
    )  # fmt: skip
