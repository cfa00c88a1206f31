"""Learning rates at and around their boundaries, and the three tables printed for LeNet-5."""

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import config
from cnn_archs.train import schedules
from cnn_archs.train.assemble import assemble


def rates(schedule, steps):
    return [float(schedule(jnp.int32(step))) for step in steps]


# --- The tables --------------------------------------------------------------------------------

# fmt: off
PRINTED = {  # the rate of each of the 20 passes
    # LeCun et al. 1998, section III.B: "0.0005 for the first two passes, 0.0002 for the next
    # three, 0.0001 for the next three, 0.00005 for the next 4, and 0.00001 thereafter"
    "lenet5_paper1998": [0.0005] * 2 + [0.0002] * 3 + [0.0001] * 3 + [0.00005] * 4 + [0.00001] * 8,
    # The lecture notes: 0.005 for 2 epochs, 0.0002 for 3, 0.00005 for 4, then 0.00001
    "lenet5_notes": [0.005] * 2 + [0.0002] * 3 + [0.00005] * 4 + [0.00001] * 11,
    # The textbook, epochs from 0: 0.0005 while epoch <= 2, 0.0002 <= 5, 0.00005 <= 9, 0.00001
    "lenet5_book": [0.0005] * 3 + [0.0002] * 3 + [0.00005] * 4 + [0.00001] * 10,
}
# fmt: on


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize(
    "steps_per_epoch", [60_000.0, 60_000 / 128, 1_437 / 32], ids=["1", "128", "digits"]
)
def test_lenet5_tables_at_every_pass(name, steps_per_epoch):
    """60,000 examples one at a time; 468.75 and 44.90625 steps an epoch."""
    assert len(PRINTED[name]) == 20
    schedule = schedules.create(name, steps_per_epoch)
    first = [math.ceil(p * steps_per_epoch) for p in range(20)]
    last = [step - 1 for step in first[1:]] + [math.ceil(20 * steps_per_epoch) - 1]
    expected = np.float32(PRINTED[name]).tolist()  # as printed, to the last bit
    assert rates(schedule, first) == expected
    assert rates(schedule, last) == expected


def test_the_tables_have_no_knobs():
    with pytest.raises(TypeError):
        schedules.create("lenet5_book", 100.0, learning_rate=0.1)


# --- Piecewise ---------------------------------------------------------------------------------


def piecewise(steps_per_epoch, boundaries, unit, factors=(1.0, 0.1, 0.01)):
    knobs = dict(learning_rate=0.5, factors=factors, boundaries=boundaries, unit=unit)
    return schedules.create("piecewise", steps_per_epoch, **knobs)


def test_piecewise_changes_at_the_step_it_names():
    schedule = piecewise(7.0, (100.0, 200.0), "step")
    found = rates(schedule, [0, 99, 100, 199, 200, 10**6])
    np.testing.assert_allclose(found, [0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-6)


def test_piecewise_in_epochs_changes_at_the_first_step_of_the_epoch():
    """1,437 examples in batches of 32: epoch 2 begins at 89.8, so step 90 is the first of it."""
    schedule = piecewise(1_437 / 32, (2.0, 3.0), "epoch")
    found = rates(schedule, [89, 90, 134, 135])  # 3 * 44.9 = 134.7
    np.testing.assert_allclose(found, [0.5, 0.05, 0.05, 0.005], rtol=1e-6)


@pytest.mark.parametrize("examples, batch", [(50_000, 96), (1_437, 7), (60_000, 96), (50_000, 7)])
def test_the_first_step_of_an_epoch_is_exact(examples, batch):
    """Floats are not: 30 * (50000 / 96) is a hair more than 15625."""
    for epoch in range(200):
        exact = math.ceil(Fraction(epoch * examples, batch))
        assert schedules.first_step(float(epoch), "epoch", examples / batch) == exact


@pytest.mark.parametrize("epochs, step", [(1.1, 110), (0.7, 70), (2.3, 230), (0.07, 7)])
def test_decimal_epochs_are_exact(epochs, step):
    """1.1 * 100.0 is 110.00000000000001 in floats."""
    assert schedules.first_step(epochs, "epoch", 100.0) == step


def test_a_run_of_decimal_epochs_is_exact():
    """1,000 of the digits in batches of 10: 1.1 epochs are 110 steps, and 0.1 are 10."""
    overrides = ["model.name=mlp", "model.hidden=(1,)", "data.batch_size=10", "data.holdout=437"]
    overrides += ["epochs=1.1", "eval_every=0.1", "checkpoint_every=0.7"]
    run = assemble(config.load("lenet5_digits", overrides))
    assert run.total == 110
    assert (run.periods["evaluate"], run.periods["checkpoint"]) == (10, 70)


def test_piecewise_without_boundaries_is_constant():
    assert rates(piecewise(10.0, (), "epoch", factors=(1.0,)), [0, 10**6]) == [0.5, 0.5]


def test_two_boundaries_at_one_step_leave_the_last_rate():
    schedule = piecewise(10.0, (5.0, 5.0), "step")
    np.testing.assert_allclose(rates(schedule, [4, 5]), [0.5, 0.005], rtol=1e-6)


# --- Constant and exponential ------------------------------------------------------------------


def test_constant():
    schedule = schedules.create("constant", 10.0, learning_rate=0.25)
    assert rates(schedule, [0, 1, 10**6]) == [0.25] * 3


def exponential(steps_per_epoch, **knobs):
    defaults = dict(learning_rate=0.01, factor=0.96, every=8.0, unit="epoch", staircase=True)
    return schedules.create("exponential", steps_per_epoch, **{**defaults, **knobs})


def test_exponential_staircase_falls_at_whole_periods():
    """GoogLeNet's 4 % every 8 epochs: 80 steps here."""
    found = rates(exponential(10.0), [0, 79, 80, 159, 160])
    expected = [0.01, 0.01, 0.01 * 0.96, 0.01 * 0.96, 0.01 * 0.96**2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_exponential_without_staircase_is_smooth():
    found = rates(exponential(10.0, staircase=False), [0, 40, 80, 120])
    np.testing.assert_allclose(found, 0.01 * 0.96 ** np.array([0, 0.5, 1, 1.5]), rtol=1e-6)


def test_exponential_in_steps_does_not_depend_on_the_epoch():
    a, b = exponential(10.0, unit="step"), exponential(99.0, unit="step")
    assert rates(a, [0, 7, 8, 16]) == rates(b, [0, 7, 8, 16])
    np.testing.assert_allclose(rates(a, [7, 8]), [0.01, 0.01 * 0.96], rtol=1e-6)


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "boundaries, unit, factors, message",
    [
        ((1.0,), "epoch", (1.0, 0.1, 0.01), "1 boundaries need 2 factors, not 3"),
        ((1.0, 2.0, 3.0), "epoch", (1.0, 0.1, 0.01), "3 boundaries need 4 factors"),
        ((2.0, 1.0), "epoch", (1.0, 0.1, 0.01), "not in order"),
        ((1.0, 2.0), "pass", (1.0, 0.1, 0.01), "'pass', not 'step' or 'epoch'"),
    ],
)
def test_a_piecewise_that_does_not_fit_is_refused(boundaries, unit, factors, message):
    with pytest.raises(ValueError, match=message):
        piecewise(10.0, boundaries, unit, factors)


def test_an_unknown_unit_or_name_or_knob_is_refused():
    with pytest.raises(ValueError, match="'day', not 'step' or 'epoch'"):
        exponential(10.0, unit="day")
    with pytest.raises(KeyError):
        schedules.create("cosine", 10.0)
    with pytest.raises(TypeError):
        schedules.create("constant", 10.0, rate=0.1)
