"""Training, `plan`, sweeps and claims agree on the number of steps of a training."""

import pytest

from cnn_archs import config as configs
from cnn_archs.claims.checks import recipes
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.optim import durations
from cnn_archs.planning import devices
from cnn_archs.planning.plan import make_plan
from cnn_archs.sweeps import grid, sweep_file
from cnn_archs.training.build import Member, build_trainer

# Eleven tenths of ten steps are 11; the float 1.1, a little more than that, would make them 12.
KEYS = ("epochs=1.1", "data.examples=200", "data.batch_size=20")
SWEEP = f"""
def get_sweep(argument=""):
    return dict(title="one cell", seeds=1, cells=dict(one=["lenet5_digits", *{KEYS}]))
"""


def test_a_tenth_of_an_epoch_more_is_eleven_steps_everywhere(tmp_path):
    experiment = resolve(configs.load_config("lenet5_digits", list(KEYS)))
    assert build_trainer(Member(experiment)).total_steps == 11
    assert make_plan(experiment, devices.find_device("h100"), 1, [])["training"]["steps"] == 11
    (tmp_path / "sweep.py").write_text(SWEEP)
    (cell,) = grid.list_cells(sweep_file.load_sweep(f"{tmp_path}/sweep.py"), tmp_path)
    assert grid.training_steps(cell) == 11
    named = " ".join(["lenet5_digits", *(f"--config.{key}" for key in KEYS)])
    assert recipes.steps(named, images=200) == 11


@pytest.mark.parametrize(
    "epochs, images, batch_size, steps",
    [(1.1, 200, 20, 11), (4.4, 50_000, 32, 6875), (1.0, 1437, 32, 45), (0.01, 100, 32, 1)],
)
def test_a_last_batch_that_is_begun_counts(epochs, images, batch_size, steps):
    epoch = durations.steps_per_epoch(images, batch_size)
    assert durations.total_steps(epochs, 0, epoch) == steps
    assert durations.total_steps(0.0, 7, epoch) == 7


def test_a_training_has_a_length():
    with pytest.raises(ConfigError, match="nothing to train"):
        durations.total_steps(0.0, 0, durations.steps_per_epoch(100, 10))
